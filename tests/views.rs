//! Views: a mosaic of parts of files equals the mosaic of files that hold these parts, for every way
//! that sources take to the grid. The files are cut by the tests' own builder.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use smalti::engine::Reader;
use smalti::io::IoMode;
use smalti::mosaic::target::Resolution;
use smalti::mosaic::{Mosaic, MosaicOptions, NodataMode, Overlap};
use smalti::resample::Kernel;
use smalti::source::open::open_source;
use smalti::source::{Rescale, Source, View};
use support::TestEnv;
use support::builder::{Codec, Geotiff, Random};

const CASES: u64 = 200;
const BANDS: usize = 3;

/// Takes bands of a picture in an order, and changes 16-bit samples to float64: NaN where nodata.
fn baked(tiff: &Geotiff, bands: &[usize], nodata: u16, rescale: Option<Rescale>) -> Geotiff {
    let mut out = tiff.clone();
    (out.bands, out.planar, out.predictor, out.codec) = (bands.len(), false, false, Codec::None);
    out.samples.clear();
    let pixels = tiff.width * tiff.height;
    for band in bands {
        for sample in tiff.samples[band * pixels * 2..][..pixels * 2].chunks_exact(2) {
            let value = u16::from_le_bytes([sample[0], sample[1]]);
            match rescale {
                None => out.samples.extend(sample),
                Some(rescale) => {
                    let changed = f64::from(value) * rescale.scale + rescale.offset;
                    let changed = if value == nodata { f32::NAN } else { changed as f32 };
                    out.samples.extend(changed.to_le_bytes());
                }
            }
        }
    }
    if rescale.is_some() {
        (out.dtype, out.nodata) = ((32, 3), None);
    }
    out
}

/// A source with a view, and the file that it should be like.
fn pair(
    random: &mut Random,
    env: &TestEnv,
    name: &str,
    bands: &[usize],
    rescaled: bool,
) -> [Source; 2] {
    let nodata = 7u16;
    let mut tiff = Geotiff::new(40, 36, BANDS, random.next());
    for sample in tiff.samples.chunks_exact_mut(2) {
        let value = if random.below(6) == 0 { nodata } else { 10 + random.below(90) as u16 };
        sample.copy_from_slice(&value.to_le_bytes());
    }
    tiff.nodata = Some(nodata.to_string());
    tiff = tiff.moved(random.below(12) as f64, random.below(12) as f64);
    if random.below(4) == 0 {
        let [x, _, _, y, _, _] = tiff.transform;
        tiff.transform = [x, 8.0, 3.0, y, 3.0, -8.0];
    }
    tiff.planar = random.below(2) == 0;
    tiff.tile = [None, Some((16, 16)), Some((32, 16))][random.below(3)];
    tiff.rows_per_strip = 1 + random.below(12);
    let (col, row) = (random.below(20), random.below(20));
    let (width, height) = (1 + random.below(40 - col), 1 + random.below(36 - row));
    let mut part = tiff.crop(col, row, width, height);
    let corner = |c: f64, r: f64| {
        let t = tiff.transform;
        [t[0] + c * t[1] + r * t[2], t[3] + c * t[4] + r * t[5]]
    };
    let [x, y] = corner(col as f64, row as f64);
    (part.transform[0], part.transform[3]) = (x, y);
    let rescale = rescaled.then_some(Rescale { scale: 0.5, offset: -20.0 });
    tiff.write(&env.path(format!("{name}_all.tif")));
    baked(&part, bands, nodata, rescale).write(&env.path(format!("{name}_part.tif")));
    let mut viewed = open_source(&env.path(format!("{name}_all.tif"))).unwrap();
    let window = [col, row, width, height].map(|v| u32::try_from(v).unwrap());
    viewed.view = Some(Arc::new(View {
        window: smalti::geometry::Window::new(window[0], window[1], window[2], window[3]),
        bands: Some(bands.iter().map(|band| u32::try_from(*band).ok()).collect()),
        rescale: rescale.map(|rescale| vec![rescale; bands.len()].into()),
        ..View::default()
    }));
    [viewed, open_source(&env.path(format!("{name}_part.tif"))).unwrap()]
}

#[test]
fn a_view_is_like_a_file_of_its_own() {
    let (mut compared, mut valid) = (0u64, 0u64);
    for case in 0..CASES {
        let env = TestEnv::new();
        let random = &mut Random(case);
        let bands: &[usize] = [&[0, 1, 2][..], &[2, 0], &[1], &[1, 1, 0]][random.below(4)];
        let rescaled = random.below(3) == 0;
        let (mut views, mut files) = (Vec::new(), Vec::new());
        for index in 0..1 + random.below(3) {
            let [view, file] = pair(random, &env, &index.to_string(), bands, rescaled);
            views.push(view);
            files.push(file);
        }
        let mut options =
            MosaicOptions { nodata_mode: Some(NodataMode::Band), ..Default::default() };
        options.kernel = Kernel::NAMES[random.below(Kernel::NAMES.len())].0;
        options.overlap =
            [Overlap::Last, Overlap::First, Overlap::Mean, Overlap::Max][random.below(4)];
        options.target.resolution =
            [Resolution::Highest, Resolution::Fixed([7.0, 7.0]), Resolution::Fixed([23.0, 17.0])]
                [random.below(3)];
        let [views, files] =
            [views, files].map(|sources| Mosaic::new(sources, &options).expect("a mosaic"));
        assert_eq!(
            (views.grid.transform, views.grid.size),
            (files.grid.transform, files.grid.size)
        );
        assert_eq!((views.dtype, views.bands), (files.dtype, files.bands), "case {case}");
        let read = |mosaic: &Mosaic| {
            let all = mosaic.grid.size.window().expect("pixels");
            Reader::new(mosaic, 1 << 22, IoMode::Auto).read(all).expect("it can be read")
        };
        let ((got, got_valid), (want, want_valid)) = (read(&views), read(&files));
        for band in 0..views.bands {
            for row in 0..views.grid.size.height {
                for col in 0..views.grid.size.width {
                    let place = (case, options.kernel, options.overlap, band, col, row);
                    let is_valid = want_valid.is_valid(band, col, row);
                    assert_eq!(got_valid.is_valid(band, col, row), is_valid, "{place:?}");
                    compared += 1;
                    if is_valid {
                        let values = [&got, &want].map(|raster| raster.get_f64(band, col, row));
                        assert_eq!(values[0], values[1], "{place:?}");
                        valid += 1;
                    }
                }
            }
        }
    }
    assert!(compared > 300_000 && valid > compared / 4, "{compared} compared, {valid} valid");
}
