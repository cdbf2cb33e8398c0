#!/usr/bin/env python3
"""Lets other programs read what smalti writes.

    gdal_reads_us.py SMALTI FIXTURES [SHARED_DATA]

Makes small co-registered sets (overlaps, holes, strips beside tiles, chunky beside planar, both byte orders),
mosaics each by many option sets, and asks of every output:
 - gdalinfo -checksum, tiffinfo -D (libtiff reads all pixels), rasterio and tifffile read it without a warning,
   but for tiffinfo's word on tags that it does not know; both GDALs find the same checksums;
 - grid, CRS, nodata and pixels equal gdalbuildvrt + gdal_translate over the same files, or, where that route
   would go through 64-bit floats, a mosaic that numpy pastes; tifffile sees the same pixels;
 - compression, predictor, interleave, BigTIFF, sparse blocks are what was asked for.
Then every plain source in FIXTURES/sources is mosaicked alone and must come back as it was, the sample
folder must equal the GDAL route, and so must known sets of SHARED_DATA, where that folder is there.
Prints one line a fault and closes on "N passed, N failed"; asserts how many files it checked.
"""

import logging
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import rasterio
import tifffile
from rasterio.transform import from_origin

LEAST_GENERATED = 130  # outputs of the generated sets
LEAST_ALONE = 50  # fixtures that come back as they were

NUMPY = {"u8": "uint8", "i8": "int8", "u16": "uint16", "i16": "int16", "u32": "uint32", "i32": "int32",
         "u64": "uint64", "i64": "int64", "f32": "float32", "f64": "float64"}
# Debian's GDAL 3.6 has no signed byte and paints 64-bit integers by way of f64.
NOT_BY_GDAL = {"i8", "u64", "i64"}
COMPRESSION = {"none": 1, "lzw": 5, "deflate": 8, "packbits": 32773, "zstd": 50000}
SIDE = (320, 260)


class Fault(Exception):
    """What is wrong with one output."""


def demand(truth, text):
    if not truth:
        raise Fault(text)


# ---- sources --------------------------------------------------------------------------------------------

def nodata_of(dtype):
    return {"u8": 0, "u16": 0, "u32": 0, "u64": 7, "i8": -128, "i64": -9}.get(dtype, -9999)


def values(rng, dtype, shape):
    """Smooth and noisy data that uses the type's range and never holds its nodata value by chance."""
    kind = np.dtype(NUMPY[dtype])
    rows, cols = np.mgrid[0:shape[0], 0:shape[1]]
    wave = np.sin(cols / 40) * np.cos(rows / 30)
    if kind.kind == "f":
        return (wave * 1000 + rng.normal(0, 1, shape)).astype(kind)
    info = np.iinfo(kind)
    if kind.itemsize == 8:  # beyond what an f64 can tell apart
        low = info.max - (1 << 20)
        return rng.integers(low, info.max, shape, dtype=kind, endpoint=True)
    middle = (int(info.max) + int(info.min)) // 2
    amplitude = int(info.max) - middle - 20
    return np.clip(middle + wave * amplitude * 0.8 + rng.normal(0, 9, shape), middle - amplitude,
                   middle + amplitude).astype(kind)


def make_set(folder, dtype, bands, nodata, seed):
    """Six overlapping sources of one grid; returns the mosaic that numpy pastes, later over earlier."""
    os.makedirs(folder)
    rng = np.random.default_rng(seed)
    fill = 0 if nodata is None else nodata
    truth = np.full((bands, SIDE[1], SIDE[0]), fill, NUMPY[dtype])
    places = [(0, 0, 150, 140), (125, 10, 195, 100), (9, 131, 111, 129), (175, 165, 145, 95),
              (140, 95, 50, 50), (300, 5, 20, 15)]
    layouts = [{"tiled": True, "blockxsize": 64, "blockysize": 128, "compress": "lzw"},
               {"blockysize": 7, "compress": "deflate"},
               {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "zstd", "interleave": "band"},
               {"blockysize": 95, "compress": "packbits", "interleave": "pixel"},
               {"blockysize": 16, "compress": "lzw", "interleave": "band", "ENDIANNESS": "BIG"},
               {"BIGTIFF": "YES", "ENDIANNESS": "BIG"}]
    for index, ((col, row, width, height), layout) in enumerate(zip(places, layouts)):
        data = np.stack([values(rng, dtype, (height, width)) for _ in range(bands)])
        if nodata is not None:
            data[:, height // 3:height // 2, width // 4:width // 2] = nodata
            data[0, :5] = nodata  # each band by itself
        profile = {"driver": "GTiff", "dtype": NUMPY[dtype], "count": bands, "width": width, "height": height,
                   "crs": "EPSG:32633", "nodata": nodata,
                   "transform": from_origin(500000 + col * 10, 5300000 - row * 10, 10, 10), **layout}
        with rasterio.open(f"{folder}/{index}.tif", "w", **profile) as file:
            file.write(data)
        part = truth[:, row:row + height, col:col + width]
        part[...] = data if nodata is None else np.where(data == nodata, part, data)
    return truth


# ---- the two routes ---------------------------------------------------------------------------------------

def run(command, quiet=True):
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
                          check=False)
    demand(done.returncode == 0, f"{' '.join(command)}: code {done.returncode}: {done.stderr.strip()[-400:]}")
    if quiet:
        demand(not done.stderr.strip(), f"{command[0]} says: {done.stderr.strip()[-400:]}")
    return done


def gdal_route(files, output, dtype=None):
    vrt = output + ".vrt"
    run(["gdalbuildvrt", "-q", "-strict", "-resolution", "highest", vrt, *files])
    run(["gdal_translate", "-q", "-co", "TILED=YES", *(["-ot", dtype] if dtype else []), vrt, output])
    with rasterio.open(output) as file:
        return file.read(), file.profile


def same(ours, theirs):
    equal = ours == theirs
    if ours.dtype.kind == "f":
        equal |= (ours != ours) & (theirs != theirs)
    return equal


def compare_pixels(ours, theirs, who):
    demand(ours.shape == theirs.shape and ours.dtype == theirs.dtype,
           f"{who}: {theirs.shape} {theirs.dtype}, we have {ours.shape} {ours.dtype}")
    wrong = np.argwhere(~same(ours, theirs))
    if len(wrong):
        where = tuple(int(v) for v in wrong[0])
        raise Fault(f"{who}: {len(wrong)} samples differ, the first at (band, row, col) {where}: "
                    f"{theirs[where]}, we have {ours[where]}")


def compare_profile(ours, theirs):
    for key in ("width", "height", "count", "dtype", "crs"):
        demand(ours[key] == theirs[key], f"{key} is {ours[key]}, GDAL's {theirs[key]}")
    demand(ours["transform"].almost_equals(theirs["transform"], 1e-9), f"transform is {ours['transform']}")
    a, b = ours["nodata"], theirs["nodata"]
    demand(a == b or (a is not None and b is not None and a != a and b != b), f"nodata is {a}, GDAL's {b}")


# ---- what every output must stand -------------------------------------------------------------------------

class Listener(logging.Handler):
    """Keeps what rasterio and tifffile warn of; one thread at a time uses them."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.heard = []

    def emit(self, record):
        self.heard.append(record.getMessage())


LISTENER = Listener()
for logger in ("rasterio", "tifffile"):
    logging.getLogger(logger).addHandler(LISTENER)

UNKNOWN_TAG = re.compile(r"Warning, Unknown field with tag \d+ \(0x[0-9a-f]+\) encountered\.?$")


def read_everywhere(path, old_gdal=True):
    """Reads the file with four readers; returns pixels, profile and tifffile's first page."""
    LISTENER.heard.clear()
    with rasterio.open(path) as file:
        pixels, profile = file.read(), file.profile
        checksums = [file.checksum(band) for band in file.indexes]
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        array = page.asarray()
        facts = {"compression": int(page.compression), "predictor": int(page.predictor),
                 "planar": int(page.planarconfig), "big": file.is_bigtiff, "tile": (page.tilewidth, page.tilelength),
                 "empty": sum(1 for count in page.databytecounts if count == 0)}
    demand(not LISTENER.heard, f"warnings: {LISTENER.heard[:3]}")
    if array.ndim == 2:
        array = array[None]
    elif facts["planar"] == 1:
        array = np.moveaxis(array, -1, 0)
    compare_pixels(pixels, array, "tifffile")
    info = run(["gdalinfo", "-checksum", path]).stdout
    if old_gdal:
        found = [int(value) for value in re.findall(r"Checksum=(-?\d+)", info)]
        demand(found == checksums, f"gdalinfo's checksums are {found}, rasterio's {checksums}")
    # libtiff itself has no sparse blocks: only GDAL's driver fills them in.
    reading = [] if facts["empty"] else ["-D"]
    spoken = run(["tiffinfo", *reading, path], quiet=False).stderr.strip().splitlines()
    strange = [line for line in spoken if not UNKNOWN_TAG.search(line)]
    demand(not strange, f"tiffinfo says: {strange[:3]}")
    return pixels, profile, facts


def mosaic(program, inputs, output, options):
    run([program, "mosaic", *inputs, "-o", output, "--nodata-mode", "band", "--quiet", *options], quiet=False)


def check_facts(facts, options):
    asked = dict(zip(options[::2], options[1::2]))
    compress = asked.get("--compress", "lzw")
    wanted = COMPRESSION[compress]
    demand(facts["compression"] == wanted or (compress == "deflate" and facts["compression"] == 32946),
           f"compression is {facts['compression']}, asked for {compress}")
    predictor = {"none": 1, "horizontal": 2, "float": 3}.get(asked.get("--predictor"))
    demand(predictor in (None, facts["predictor"]), f"predictor is {facts['predictor']}")
    planar = {"band": 2, "pixel": 1}.get(asked.get("--interleave"))
    demand(planar in (None, facts["planar"]), f"planar configuration is {facts['planar']}")
    demand(asked.get("--bigtiff") is None or facts["big"] == (asked["--bigtiff"] == "yes"), "BigTIFF or not")
    chunk = int(asked["--chunk"])
    demand(facts["tile"] == (chunk, chunk), f"tile is {facts['tile']}")


# ---- cases --------------------------------------------------------------------------------------------------

def generated_cases():
    """(dtype, bands, with nodata, options, sparse) of every generated output."""
    cases = []
    for dtype in ("u16", "f32"):
        predictors = ("none", "horizontal", "auto") if dtype == "u16" else ("none", "float", "auto")
        for compress in COMPRESSION:
            usable = predictors if compress in ("lzw", "deflate", "zstd") else ("none",)
            for predictor in usable:
                for interleave, big in (("band", "yes"), ("band", "no"), ("pixel", "yes"), ("pixel", "no")):
                    if compress not in ("none", "lzw") and (interleave, big) in (("band", "yes"), ("pixel", "no")):
                        continue  # the container and the codec do not meet
                    options = ["--compress", compress, "--predictor", predictor, "--interleave", interleave,
                               "--bigtiff", big, "--chunk", "128"]
                    cases.append((dtype, 3, True, options, False))
    for dtype in NUMPY:
        for with_nodata in (True, False):
            for compress in ("lzw", "zstd"):
                cases.append((dtype, 2, with_nodata, ["--compress", compress, "--chunk", "64"], False))
        predictor = "float" if dtype[0] == "f" else "horizontal"
        cases.append((dtype, 1, True, ["--compress", "deflate", "--predictor", predictor, "--chunk", "1024"], False))
    for dtype in ("u8", "f64"):
        for interleave in ("band", "pixel"):
            for with_nodata in (True, False):
                for big in ("yes", "no"):
                    options = ["--interleave", interleave, "--bigtiff", big, "--chunk", "32"]
                    cases.append((dtype, 2, with_nodata, options, True))
    for dtype, level in (("u16", "1"), ("u16", "9"), ("u8", "6")):
        cases.append((dtype, 3, True, ["--compress", "deflate", "--level", level, "--chunk", "256"], False))
    for threads in ("1", "2", "5"):
        cases.append(("u16", 3, True, ["--threads", threads, "--memory", "64M", "--chunk", "256"], False))
    return cases


def check_generated(work, program, case, index, truths):
    dtype, bands, with_nodata, options, sparse = case
    folder = f"{work}/set_{dtype}_{bands}_{int(with_nodata)}"
    output = f"{work}/out_{index}.tif"
    mosaic(program, [folder], output, options + (["--sparse"] if sparse else []))
    pixels, profile, facts = read_everywhere(output, dtype not in NOT_BY_GDAL)
    pasted, expected = truths[folder]
    compare_pixels(pixels, pasted, "numpy's mosaic")
    if expected is not None:
        compare_pixels(pixels, expected[0], "the GDAL route")
        compare_profile(profile, expected[1])
    check_facts(facts, options)
    demand((facts["empty"] > 0) == sparse, f"{facts['empty']} empty blocks")
    os.remove(output)


def conversions(work):
    """--dtype and promotion, against gdal_translate -ot, where GDAL rounds and clamps as we do."""
    for source, target, name in (("u16", "f32", "Float32"), ("i16", "u8", "Byte"), ("f32", "i16", "Int16"),
                                 ("f64", "f32", "Float32"), ("u8", "u16", "UInt16"), ("u16", "i32", "Int32")):
        yield f"{work}/set_{source}_2_0", target, name


def check_conversion(work, program, folder, target, name):
    output = f"{work}/converted.tif"
    mosaic(program, [folder], output, ["--dtype", target, "--chunk", "64", "--overwrite"])
    pixels, _, _ = read_everywhere(output, target not in NOT_BY_GDAL)
    files = [f"{folder}/{i}.tif" for i in range(6)]
    theirs, _ = gdal_route(files, f"{work}/theirs.tif", name)
    compare_pixels(pixels, theirs, f"gdal_translate -ot {name}")


PLAIN = re.compile(r"^[uif]\d+_[a-z]+_p\d_.*\.tif$")


def check_alone(work, program, path):
    """mosaic(A) = A; NaN and nodata apart, which are invalid and become the output's nodata."""
    output = f"{work}/alone.tif"
    with rasterio.open(path) as file:
        theirs, nodata = file.read(), file.nodata
    mosaic(program, [path], output, ["--overwrite", "--chunk", "16"])
    pixels, _, _ = read_everywhere(output, "i8_" not in path)
    if theirs.dtype.kind == "f":
        theirs = np.where(np.isnan(theirs), theirs.dtype.type(0 if nodata is None else nodata), theirs)
    compare_pixels(pixels, theirs, os.path.basename(path))


def check_folder(work, program, folder, names=None):
    """A set of one grid, by both routes."""
    names = names or [name for name in os.listdir(folder) if name.lower().endswith((".tif", ".tiff"))]
    files = [f"{folder}/{name}" for name in sorted(names)]
    demand(len(files) >= 2, f"{folder} holds {len(files)} files")
    output = f"{work}/folder.tif"
    mosaic(program, files, output, ["--overwrite", "--chunk", "256"])
    pixels, profile, _ = read_everywhere(output)
    theirs, expected = gdal_route(files, f"{work}/folder-gdal.tif")
    compare_pixels(pixels, theirs, "the GDAL route")
    compare_profile(profile, expected)


# Sets of SHARED_DATA/mosaic whose files share CRS and grid.
SHARED_SETS = {
    "rasterio_quads": [f"rgb{i}.tif" for i in range(1, 5)],
    "rasterloader_2x2": [f"mosaic_cog_{i}_{j}.tif" for i in (1, 2) for j in (1, 2)],
    "demstitcher_la": [f"los_angeles_tile_{i}.tif" for i in range(4)],
}


def main():
    program, fixtures = sys.argv[1], sys.argv[2]
    shared = sys.argv[3] if len(sys.argv) > 3 else None
    passed, faults = 0, []

    def attempt(label, function, *arguments):
        nonlocal passed
        try:
            function(*arguments)
            passed += 1
        except (Fault, OSError, ValueError, rasterio.errors.RasterioError, tifffile.TiffFileError) as fault:
            faults.append(label)
            print(f"FAULT {label}: {fault}", flush=True)

    with tempfile.TemporaryDirectory() as work:
        cases = generated_cases()
        truths = {}
        for dtype, bands, with_nodata, _, _ in cases + [(s, 2, False, 0, 0) for s in NUMPY]:
            folder = f"{work}/set_{dtype}_{bands}_{int(with_nodata)}"
            if folder not in truths:
                pasted = make_set(folder, dtype, bands, nodata_of(dtype) if with_nodata else None, len(truths))
                route = None
                if dtype not in NOT_BY_GDAL:
                    route = gdal_route([f"{folder}/{i}.tif" for i in range(6)], f"{folder}-gdal.tif")
                    compare_pixels(pasted, route[0], "numpy against GDAL")
                truths[folder] = (pasted, route)
        for index, case in enumerate(cases):
            label = f"{case[0]} x {case[1]} nodata={case[2]} {' '.join(case[3])}{' --sparse' if case[4] else ''}"
            attempt(label, check_generated, work, program, case, index, truths)
        generated = passed + len(faults)
        for folder, target, name in conversions(work):
            attempt(f"{os.path.basename(folder)} to {target}", check_conversion, work, program, folder, target, name)
        plain = sorted(name for name in os.listdir(f"{fixtures}/sources") if PLAIN.match(name))
        for name in plain:
            attempt(f"{name} alone", check_alone, work, program, f"{fixtures}/sources/{name}")
        attempt("the sample", check_folder, work, program, f"{fixtures}/sources",
                [f"relief_{i}.tif" for i in range(1, 7)])
        for name, files in SHARED_SETS.items() if shared else ():
            attempt(f"shared {name}", check_folder, work, program, f"{shared}/mosaic/{name}", files)
    if not shared:
        print("SKIPPED the shared sets: no such folder beside the checkout")
    print(f"files checked: {generated} generated, {len(plain)} fixtures alone, sample, "
          f"{len(SHARED_SETS) if shared else 0} shared sets")
    print(f"{passed} passed, {len(faults)} failed")
    counted = generated >= LEAST_GENERATED and len(plain) >= LEAST_ALONE
    if not counted:
        print(f"too few: at least {LEAST_GENERATED} generated and {LEAST_ALONE} fixtures are expected")
    sys.exit(0 if counted and not faults else 1)


if __name__ == "__main__":
    main()
