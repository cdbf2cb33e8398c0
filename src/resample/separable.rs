//! Resampling in two passes where axes stay axes: along the rows as they come, then down the columns.
//!
//! Source rows are pushed from the first to the last; an output row can be taken once its last tap was
//! pushed. Only as many rows are kept as an output row needs. The sums of `w x` and of `w` are both
//! carried through the two passes and divided once, at the end (SPEC §5.6). Where all taps are valid,
//! which is tested by the sums themselves, nothing is divided: so a result does not depend on what else
//! lies in the rows that were pushed together.

use crate::resample::Kernel;
use crate::resample::axis::{Axis, Float, Line};
use crate::sample::Sample;

/// Memory that the rows that are kept for a guard may take.
const MOST_RAW_BYTES: usize = 8 << 20;

/// What is resampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// A separable kernel.
    pub kernel: Kernel,
    /// Columns and rows in the source.
    pub lines: [Line; 2],
    /// First output column and row.
    pub first: [u32; 2],
    /// Output columns and rows.
    pub count: [u32; 2],
    /// Least share of the weights that must be valid, for area kernels.
    pub valid_fraction: f64,
    /// Samples may be infinite.
    pub is_float: bool,
    /// Number of bands, after those of samples, that hold weights: area kernels average them.
    pub weight_bands: usize,
}

/// The state of the two passes over a window, for some bands that share planes of validity.
#[derive(Debug, Default)]
pub struct TwoPass<A> {
    kernel: Kernel,
    valid_fraction: f64,
    main: Pass<A>,
    /// Bilinear weights, which take over from negative lobes; empty where none are needed.
    guard: Pass<A>,
    guarded: bool,
    /// Whether a row is all valid: index `plane * capacity + slot`.
    whole: Vec<bool>,
    /// Validity under the centres: index `(plane * capacity + slot) * width + x`.
    nearest: Vec<u8>,
    /// Source rows from the first column that is needed, invalid samples as 0: index
    /// `(band * raw_rows + slot % raw_rows) * span + x`.
    lines: Vec<A>,
    /// The same of validity, by plane.
    masks: Vec<A>,
    /// Rows in `lines`: as many as are kept, so that the guard's first pass can wait until it is
    /// needed; or 1 where that would be too much memory.
    raw_rows: usize,
    /// Rows whose guard was computed: index `(band or bands + plane) * capacity + slot`.
    guard_done: Vec<bool>,
    bands: usize,
    weight_bands: usize,
    sums: Vec<A>,
    valid_sums: Vec<A>,
    full_sums: Vec<A>,
    guard_sums: Vec<A>,
    guard_valid: Vec<A>,
    planes: usize,
    /// That of the last call of [`TwoPass::valid_row`].
    plane: usize,
    col0: i64,
    span: usize,
}

/// One set of weights, and the rows that it gave.
#[derive(Debug, Default)]
struct Pass<A> {
    cols: Axis,
    rows: Axis,
    /// First tap of each column, counted from the first source column that is needed.
    offsets: Vec<u32>,
    /// Sum of the weights of each column, as the first pass adds them.
    full: Vec<A>,
    /// Index `(band * capacity + slot) * width + x`.
    bands: Vec<A>,
    /// Index `(plane * capacity + slot) * width + x`.
    valid: Vec<A>,
    /// Rows that are kept.
    capacity: usize,
}

impl<A: Float> TwoPass<A> {
    /// Starts a window of `bands` bands, those of weights included, that share `planes` planes of validity.
    pub fn begin(&mut self, job: &Job, bands: usize, planes: usize) {
        self.kernel = job.kernel;
        self.valid_fraction = job.valid_fraction;
        (self.bands, self.planes, self.weight_bands) = (bands, planes, job.weight_bands);
        self.guarded = job.kernel.has_negative_lobes();
        self.main.fill(job, job.kernel);
        if self.guarded {
            self.guard.fill(job, Kernel::Bilinear);
        }
        let (first, end) = self.main.cols.span();
        (self.col0, self.span) = (first, (end - first) as usize);
        let capacity = self.main.rows.most_taps();
        let width = self.main.cols.count();
        // Both passes drop rows at the same time.
        self.main.start(first, self.span, capacity, bands, planes);
        if self.guarded {
            self.guard.start(first, self.span, capacity, bands, planes);
        }
        self.whole.clear();
        self.whole.resize(planes * capacity, false);
        let raw = (bands + planes) * capacity * self.span * size_of::<A>();
        self.raw_rows = if self.guarded && raw <= MOST_RAW_BYTES { capacity } else { 1 };
        self.lines.resize(bands * self.raw_rows * self.span, A::ZERO);
        self.masks.resize(planes * self.raw_rows * self.span, A::ZERO);
        self.guard_done.clear();
        self.guard_done.resize((bands + planes) * capacity, false);
        self.nearest.resize(planes * capacity * width, 0);
        for sums in [
            &mut self.sums,
            &mut self.valid_sums,
            &mut self.full_sums,
            &mut self.guard_sums,
            &mut self.guard_valid,
        ] {
            sums.resize(width, A::ZERO);
        }
    }

    /// First source column and row that are needed, and those after the last.
    pub fn span(&self) -> [(i64, i64); 2] {
        [self.main.cols.span(), self.main.rows.span()]
    }

    /// First and last source row of an output row, counted from the first.
    pub fn rows_of(&self, at: usize) -> (i64, i64) {
        let taps = self.main.rows.taps(at);
        (taps.first, taps.first + taps.count as i64 - 1)
    }

    /// The axis of columns.
    pub fn columns(&self) -> &Axis {
        &self.main.cols
    }

    /// The axis of rows.
    pub fn rows(&self) -> &Axis {
        &self.main.rows
    }

    /// Source row under the centre of an output row.
    pub fn nearest_row(&self, at: usize) -> i64 {
        self.main.rows.nearest(at)
    }

    /// Bytes of the rows that are kept.
    pub fn bytes(&self) -> u64 {
        let floats = self.main.bands.len() + self.main.valid.len();
        let guard = self.guard.bands.len() + self.guard.valid.len();
        ((floats + guard) * size_of::<A>() + self.nearest.len()) as u64
    }

    /// Takes in the validity of a plane in source row `row`: bytes of 0 and 1 from the first column that
    /// is needed; `None` if all are valid.
    pub fn push_valid(&mut self, plane: usize, row: i64, valid: Option<&[u8]>) {
        let (capacity, width) = (self.main.capacity, self.main.cols.count());
        let slot = plane * capacity + slot_of(row, capacity);
        let valid = valid.map(|valid| &valid[..self.span]);
        let whole = valid.is_none_or(|valid| valid.iter().all(|v| *v != 0));
        self.whole[slot] = whole;
        self.guard_done[self.bands * capacity + slot] = false;
        let nearest = &mut self.nearest[slot * width..][..width];
        match valid.filter(|_| !whole) {
            None => nearest.fill(1),
            Some(valid) => {
                for (at, v) in nearest.iter_mut().enumerate() {
                    *v = valid[(self.main.cols.nearest(at) - self.col0) as usize];
                }
                let at = (plane * self.raw_rows + slot_of(row, self.raw_rows)) * self.span;
                let mask = &mut self.masks[at..at + self.span];
                mask.iter_mut().zip(valid).for_each(|(a, v)| *a = A::from_sample(*v));
                self.main.first_pass(mask, Kept::Valid, slot);
                if self.guarded && self.raw_rows == 1 {
                    self.guard.first_pass(mask, Kept::Valid, slot);
                    self.guard_done[self.bands * capacity + slot] = true;
                }
            }
        }
    }

    /// Takes in the samples of a band in source row `row`, of which `valid` are; they belong to `plane`,
    /// whose validity was pushed.
    pub fn push_samples<P: Sample>(
        &mut self,
        band: usize,
        plane: usize,
        row: i64,
        samples: &[P],
        valid: Option<&[u8]>,
    ) {
        let capacity = self.main.capacity;
        let kernel = self.kernel_of(band);
        let whole = self.whole[plane * capacity + slot_of(row, capacity)];
        let samples = &samples[..self.span];
        let at = (band * self.raw_rows + slot_of(row, self.raw_rows)) * self.span;
        let line = &mut self.lines[at..at + self.span];
        match valid.filter(|_| !whole) {
            None => {
                for (a, s) in line.iter_mut().zip(samples) {
                    *a = A::from_sample(*s);
                }
            }
            Some(valid) => {
                for ((a, s), v) in line.iter_mut().zip(samples).zip(valid) {
                    *a = if *v != 0 { A::from_sample(*s) } else { A::ZERO };
                }
            }
        }
        if kernel == Kernel::Rms {
            line.iter_mut().for_each(|a| *a = *a * *a);
        }
        let slot = band * capacity + slot_of(row, capacity);
        self.main.first_pass(line, Kept::Bands, slot);
        self.guard_done[slot] = false;
        if self.guarded && self.raw_rows == 1 {
            self.guard.first_pass(line, Kept::Bands, slot);
            self.guard_done[slot] = true;
        }
    }

    /// That of a band: weights are averaged where samples are not weighed by distance.
    fn kernel_of(&self, band: usize) -> Kernel {
        let is_weight = band + self.weight_bands >= self.bands;
        if is_weight && self.kernel.is_area() { Kernel::Average } else { self.kernel }
    }

    /// Makes the guard's rows that an output row needs.
    fn prepare_guard(&mut self, at: usize, kept: Kept, index: usize) {
        let capacity = self.main.capacity;
        let taps = self.guard.rows.taps(at);
        for row in taps.first..taps.first + taps.count as i64 {
            let slot = index * capacity + slot_of(row, capacity);
            let (done, lines) = match kept {
                Kept::Bands => (slot, &self.lines),
                Kept::Valid => (self.bands * capacity + slot, &self.masks),
            };
            if std::mem::replace(&mut self.guard_done[done], true)
                || (kept == Kept::Valid && self.whole[slot])
            {
                continue;
            }
            let start = (index * self.raw_rows + slot_of(row, self.raw_rows)) * self.span;
            self.guard.first_pass(&lines[start..start + self.span], kept, slot);
        }
    }

    /// The validity of an output row in a plane; returns whether all of it is valid. Must be called
    /// before [`TwoPass::row`] for bands of that plane.
    pub fn valid_row(&mut self, at: usize, plane: usize, valid: &mut [u8]) -> bool {
        let capacity = self.main.capacity;
        let (first, last) = self.rows_of(at);
        let all = (first..=last).all(|row| self.whole[plane * capacity + slot_of(row, capacity)]);
        self.main.second_pass_full(at, &mut self.full_sums);
        self.plane = plane;
        if all {
            valid.fill(1);
            return true;
        }
        self.main.second_pass_valid(at, plane, &self.whole, &mut self.valid_sums);
        if self.kernel.is_area() {
            let sums = self.valid_sums.iter().zip(&self.full_sums);
            for (v, (sum, full)) in valid.iter_mut().zip(sums) {
                let (sum, full) = (sum.to_double(), full.to_double());
                *v = u8::from(sum > 0.0 && sum >= self.valid_fraction * full);
            }
        } else {
            let width = valid.len();
            let slot = plane * capacity + slot_of(self.main.rows.nearest(at), capacity);
            valid.copy_from_slice(&self.nearest[slot * width..][..width]);
        }
        false
    }

    /// The values of an output row in a band, after [`TwoPass::valid_row`] of its plane, which returned
    /// `all`. Where nothing is valid they mean nothing.
    pub fn row(&mut self, at: usize, band: usize, all: bool) -> &[A] {
        self.main.second_pass(at, band, &mut self.sums);
        let kernel = self.kernel_of(band);
        let full = &self.full_sums;
        match kernel {
            Kernel::Sum => return &self.sums,
            kernel if kernel.is_area() => {
                let weights = if all { full } else { &self.valid_sums };
                for (s, w) in self.sums.iter_mut().zip(weights) {
                    *s = *s / *w;
                }
                if kernel == Kernel::Rms {
                    self.sums.iter_mut().for_each(|s| *s = s.root());
                }
                return &self.sums;
            }
            _ if all => return &self.sums,
            _ => {}
        }
        let weak = |w: A, f: A| w < A::HALF * f;
        let guards = self.guarded
            && self.valid_sums.iter().zip(full).any(|(w, f)| weak(*w, *f) && *f > A::ZERO);
        if guards {
            self.prepare_guard(at, Kept::Valid, self.plane);
            self.prepare_guard(at, Kept::Bands, band);
            self.guard.second_pass_valid(at, self.plane, &self.whole, &mut self.guard_valid);
            self.guard.second_pass(at, band, &mut self.guard_sums);
        }
        for (x, s) in self.sums.iter_mut().enumerate() {
            let (w, f) = (self.valid_sums[x], self.full_sums[x]);
            if guards && weak(w, f) {
                *s = self.guard_sums[x] / self.guard_valid[x];
            } else if w != f {
                *s = *s / w;
            }
        }
        &self.sums
    }
}

/// Rows that are kept lie in a ring.
fn slot_of(row: i64, capacity: usize) -> usize {
    row.rem_euclid(capacity as i64) as usize
}

/// Which rows of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Bands,
    Valid,
}

impl<A: Float> Pass<A> {
    fn fill(&mut self, job: &Job, kernel: Kernel) {
        let [x, y] = job.lines;
        self.cols.fill(kernel, x, job.first[0], job.count[0], !job.is_float);
        self.rows.fill(kernel, y, job.first[1], job.count[1], !job.is_float);
    }

    fn start(&mut self, col0: i64, span: usize, capacity: usize, bands: usize, planes: usize) {
        let width = self.cols.count();
        self.capacity = capacity;
        self.bands.resize(bands * capacity * width, A::ZERO);
        self.valid.resize(planes * capacity * width, A::ZERO);
        self.full.resize(width, A::ZERO);
        self.offsets.clear();
        self.offsets.extend(self.cols.all_taps().iter().map(|taps| (taps.first - col0) as u32));
        // As the first pass adds them, so that the sums of valid weights can equal them.
        let ones = vec![A::from_sample(1u8); span];
        let mut full = std::mem::take(&mut self.full);
        dot_row(&self.cols, &self.offsets, &ones, &mut full);
        self.full = full;
    }

    fn first_pass(&mut self, line: &[A], kept: Kept, slot: usize) {
        let width = self.cols.count();
        let rows = if kept == Kept::Bands { &mut self.bands } else { &mut self.valid };
        dot_row(&self.cols, &self.offsets, line, &mut rows[slot * width..][..width]);
    }

    /// Weight and ring slot of each tap of an output row.
    fn taps(&self, at: usize) -> impl Iterator<Item = (A, usize)> {
        let taps = self.rows.taps(at);
        let weights = &A::weights(&self.rows)[taps.start()..][..taps.count];
        let capacity = self.capacity;
        let slots = (0..taps.count as i64).map(move |k| slot_of(taps.first + k, capacity));
        weights.iter().copied().zip(slots)
    }

    fn second_pass(&self, at: usize, band: usize, out: &mut [A]) {
        let width = out.len();
        let row = |slot: usize| &self.bands[(band * self.capacity + slot) * width..][..width];
        let mut taps = self.taps(at);
        if self.rows.taps(at).count == 2
            && let (Some((w0, a)), Some((w1, b))) = (taps.next(), taps.next())
        {
            for ((o, a), b) in out.iter_mut().zip(row(a)).zip(row(b)) {
                *o = w0 * *a + w1 * *b;
            }
            return;
        }
        let mut taps = self.taps(at);
        if let Some((w, slot)) = taps.next() {
            out.iter_mut().zip(row(slot)).for_each(|(o, a)| *o = w * *a);
        }
        for (w, slot) in taps {
            out.iter_mut().zip(row(slot)).for_each(|(o, a)| *o = *o + w * *a);
        }
    }

    fn second_pass_valid(&self, at: usize, plane: usize, whole: &[bool], out: &mut [A]) {
        let width = out.len();
        for (index, (w, slot)) in self.taps(at).enumerate() {
            let slot = plane * self.capacity + slot;
            let row = if whole[slot] { &self.full } else { &self.valid[slot * width..][..width] };
            add_row(out, w, row, index == 0);
        }
    }

    fn second_pass_full(&self, at: usize, out: &mut [A]) {
        for (index, (w, _)) in self.taps(at).enumerate() {
            add_row(out, w, &self.full, index == 0);
        }
    }
}

fn add_row<A: Float>(out: &mut [A], weight: A, row: &[A], is_first: bool) {
    if is_first {
        out.iter_mut().zip(row).for_each(|(o, a)| *o = weight * *a);
    } else {
        out.iter_mut().zip(row).for_each(|(o, a)| *o = *o + weight * *a);
    }
}

/// The first pass: each output column as the weighted sum of its taps, in a fixed order.
fn dot_row<A: Float>(axis: &Axis, offsets: &[u32], line: &[A], out: &mut [A]) {
    match axis.uniform() {
        Some(1) => dot_uniform::<A, 1>(axis, offsets, line, out),
        Some(2) => dot_uniform::<A, 2>(axis, offsets, line, out),
        Some(4) => dot_uniform::<A, 4>(axis, offsets, line, out),
        Some(6) => dot_uniform::<A, 6>(axis, offsets, line, out),
        _ => {
            let weights = A::weights(axis);
            for ((o, taps), at) in out.iter_mut().zip(axis.all_taps()).zip(offsets) {
                let weights = &weights[taps.start()..][..taps.count];
                *o = dot(&line[*at as usize..][..taps.count], weights);
            }
        }
    }
}

/// As many taps everywhere: their weights lie one after the other, and the loop over them is unrolled.
fn dot_uniform<A: Float, const N: usize>(axis: &Axis, offsets: &[u32], line: &[A], out: &mut [A]) {
    let (weights, _) = A::weights(axis).as_chunks::<N>();
    for ((o, at), weights) in out.iter_mut().zip(offsets).zip(weights) {
        // Cannot fail: all taps lie in the line.
        let Some(samples) = line.get(*at as usize..).and_then(|line| line.first_chunk::<N>())
        else {
            continue;
        };
        let mut sum = samples[0] * weights[0];
        for k in 1..N {
            sum = sum + samples[k] * weights[k];
        }
        *o = sum;
    }
}

/// Four sums side by side, so that one addition need not wait for the one before.
#[inline]
fn dot<A: Float>(samples: &[A], weights: &[A]) -> A {
    if samples.len() < 8 {
        let mut products = samples.iter().zip(weights).map(|(s, w)| *s * *w);
        let first = products.next().unwrap_or(A::ZERO);
        return products.fold(first, |sum, product| sum + product);
    }
    let mut lanes = [A::ZERO; 4];
    let (samples, weights) = (samples.chunks_exact(4), weights.chunks_exact(4));
    let rest = samples.remainder().iter().zip(weights.remainder());
    for (s, w) in samples.zip(weights) {
        for (lane, (s, w)) in lanes.iter_mut().zip(s.iter().zip(w)) {
            *lane = *lane + *s * *w;
        }
    }
    let [a, b, c, d] = lanes;
    rest.fold((a + b) + (c + d), |sum, (s, w)| sum + *s * *w)
}
