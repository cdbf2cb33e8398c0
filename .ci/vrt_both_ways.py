#!/usr/bin/env python3
"""VRTs between smalti and GDAL, both ways, on random sets of rasters on one grid:

    vrt_both_ways.py SMALTI [CASES]

 - `smalti index -o m.vrt` must be a VRT in which GDAL (the one of rasterio, and gdal_translate's) finds the pixels of
   `smalti mosaic`;
 - `smalti mosaic` of what gdalbuildvrt makes (flat and nested) must give the pixels of gdal_translate.

Needs gdal-bin, rasterio and numpy. Prints and demands the number of comparisons.
"""

import pathlib
import random
import subprocess
import sys
import tempfile

import numpy as np
import rasterio
from rasterio.transform import from_origin

TYPES = ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]


def run(args, cwd):
    done = subprocess.run([str(a) for a in args], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{args}\n{done.stdout}{done.stderr}")
    return done


def make(folder, rng, number):
    """Files of one type on one grid; returns their names, and whether they can be compared band by band."""
    dtype = rng.choice(TYPES)
    bands = rng.choice([1, 1, 2, 3])
    kind = rng.choice(["plain", "nodata", "mask", "alpha"])
    if kind == "alpha":
        dtype, bands = "uint8", 4
    crs = rng.choice(["EPSG:32633", "EPSG:4326", "EPSG:3035"])
    step = 0.25 if crs == "EPSG:4326" else 10.0
    names = []
    for index in range(rng.randint(1, 6)):
        width, height = rng.randint(5, 60), rng.randint(5, 60)
        col, row = rng.randint(0, 70), rng.randint(0, 70)
        data = np.random.default_rng(number * 100 + index).integers(0, 6, (bands, height, width)).astype(dtype)
        if dtype.startswith("float") and kind == "nodata":
            data[:, 1, 1] = np.nan
        name = rng.choice([f"t{index}.tif", f"a & <{index}>.tif", f"sub/ü {index}'s.tif"])
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        profile = dict(driver="GTiff", width=width, height=height, count=bands, dtype=dtype, crs=crs,
                       transform=from_origin(col * step, 60 - row * step, step, step),
                       compress=rng.choice(["none", "lzw", "deflate"]),
                       interleave=rng.choice(["band", "pixel"]))
        if kind == "nodata":
            # (NaN beside another nodata is data to GDAL's VRT; smalti never takes it for data.)
            own = rng.choice([0, 3]) if index else 0
            profile["nodata"] = float("nan") if dtype.startswith("float") else own
        if kind == "alpha":
            profile["photometric"] = "RGB"
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with rasterio.open(path, "w", **profile) as out:
                if kind == "alpha":
                    data[3] = np.where(data[3] > 2, 255, 0)
                    out.colorinterp = [rasterio.enums.ColorInterp[n] for n in ("red", "green", "blue", "alpha")]
                out.write(data)
                if kind == "mask":
                    out.write_mask(data[0] > 1)
        names.append(name)
    return names, kind


def pixels(path):
    with rasterio.open(path) as source:
        return source.read(), source.transform, source.crs


def demand_same(ours, theirs, what):
    (a, at, acrs), (b, bt, bcrs) = ours, theirs
    assert a.shape == b.shape and a.dtype == b.dtype, f"{what}: {a.shape} {a.dtype}, {b.shape} {b.dtype}"
    assert at.almost_equals(bt, 1e-9) and acrs == bcrs, f"{what}: {at} {acrs}, {bt} {bcrs}"
    differ = ~((a == b) | ((a != a) & (b != b)))
    assert not differ.any(), f"{what}: {differ.sum()} pixels differ, first at {np.argwhere(differ)[0]}"


def main():
    smalti, cases = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 60
    rng, compared = random.Random(7), 0
    for number in range(cases):
        with tempfile.TemporaryDirectory() as work:
            folder = pathlib.Path(work)
            names, kind = make(folder, rng, number)
            what = f"case {number} ({kind}: {names})"
            band = ["--nodata-mode", "band"]
            run([smalti, "mosaic", *names, "-o", "s.tif", *band, "-q"], folder)
            run([smalti, "index", *names, "-o", "m.vrt", "-q"], folder)
            run(["gdal_translate", "-q", "m.vrt", "old.tif"], folder)
            demand_same(pixels(folder / "s.tif"), pixels(folder / "m.vrt"), f"{what}: our VRT in rasterio")
            demand_same(pixels(folder / "s.tif"), pixels(folder / "old.tif"), f"{what}: our VRT in gdal_translate")
            run(["gdalbuildvrt", "-q", "g.vrt", *names], folder)
            run(["gdal_translate", "-q", "g.vrt", "g.ref.tif"], folder)
            run([smalti, "mosaic", "g.vrt", "-o", "g.tif", *band, "-q"], folder)
            demand_same(pixels(folder / "g.tif"), pixels(folder / "g.ref.tif"), f"{what}: GDAL's VRT")
            compared += 3
            whole = kind == "nodata" and "float" not in rasterio.open(folder / names[0]).dtypes[0]
            if whole and len(names) > 1:
                run(["gdalbuildvrt", "-q", "-srcnodata", "0", "-vrtnodata", "0", "in.vrt", *names[:-1]], folder)
                run(["gdalbuildvrt", "-q", "-srcnodata", "0", "n.vrt", "in.vrt", names[-1]], folder)
                run(["gdal_translate", "-q", "n.vrt", "n.ref.tif"], folder)
                run([smalti, "mosaic", "n.vrt", "-o", "n.tif", *band, "-q"], folder)
                demand_same(pixels(folder / "n.tif"), pixels(folder / "n.ref.tif"), f"{what}: a nested VRT")
                compared += 1
    assert compared >= 3 * cases
    print(f"{compared} comparisons of VRTs, all equal")


if __name__ == "__main__":
    main()
