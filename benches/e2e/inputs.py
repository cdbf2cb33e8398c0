#!/usr/bin/env python3
"""Makes the large inputs of the end-to-end bench: seeded, realistic, kept between runs.

    inputs.py DIR [NAME ...] [--scale S]

NAME is one of the keys of WORKLOADS (default: all of them). Each workload fills DIR/NAME and leaves a stamp
file that holds its parameters; a workload whose stamp fits is not made again. `--scale` multiplies the side
of each workload's layout (0.25 makes 16 times fewer tiles), so that the script itself can be tried quickly.

Imagery is a smooth field plus Gaussian noise, so that LZW shrinks it by 1.16 to 1.28, as it does real 16-bit
scenes; flat or purely smooth data would measure something else. Needs numpy and GDAL's Python binding.
"""

import argparse
import json
import math
import multiprocessing
import os
import shutil
import sys
import time

import numpy as np
from osgeo import gdal, osr

gdal.UseExceptions()

SEED = 20260101
NOISE_SIDE = 4096
VERSION = 1  # raise it when the data a workload makes change

GDAL_TYPES = {"uint8": gdal.GDT_Byte, "uint16": gdal.GDT_UInt16, "float32": gdal.GDT_Float32}


# ---- values ---------------------------------------------------------------------------------------------

_noise = None


def noise(rng, height, width):
    """A window of one plane of unit Gaussian noise, at a random place: 30 times faster than drawing it anew."""
    global _noise
    if _noise is None:
        plane = np.random.default_rng(SEED).standard_normal((NOISE_SIDE, NOISE_SIDE), dtype=np.float32)
        _noise = plane
    out = np.empty((height, width), np.float32)
    for row in range(0, height, 1024):  # long images are built of bands, each from its own place
        rows = min(1024, height - row)
        top = int(rng.integers(0, NOISE_SIDE - rows + 1))
        for col in range(0, width, 2048):
            cols = min(2048, width - col)
            left = int(rng.integers(0, NOISE_SIDE - cols + 1))
            out[row:row + rows, col:col + cols] = _noise[top:top + rows, left:left + cols]
    return out


def smooth(col, row, width, height, period):
    """A field in [-1, 1] of the mosaic's pixel coordinates, so that neighbours continue each other."""
    x = (np.arange(col, col + width, dtype=np.float64) * (2 * math.pi / period))
    y = (np.arange(row, row + height, dtype=np.float64) * (2 * math.pi / period))
    wide = np.outer(np.cos(y * 0.7 + 1), np.sin(x)) * 0.6
    fine = np.outer(np.sin(y * 5.1), np.cos(x * 4.3 + 0.5)) * 0.4
    return (wide + fine).astype(np.float32)


def imagery(rng, col, row, width, height, band, dtype):
    """One band of noisy imagery; never 0, so that 0 can be nodata."""
    field = smooth(col, row, width, height, 1900 + 300 * band)
    if dtype == "uint8":
        values = 110 + 60 * field + 6 * noise(rng, height, width)
        return np.clip(np.rint(values), 1, 255).astype(np.uint8)
    values = 1600 + 250 * band + 600 * field + 20 * noise(rng, height, width)
    return np.clip(np.rint(values), 1, 65535).astype(np.uint16)


# ---- files ----------------------------------------------------------------------------------------------

def create(path, width, height, bands, dtype, transform, epsg, nodata, options):
    driver = gdal.GetDriverByName("GTiff")
    dataset = driver.Create(path, width, height, bands, GDAL_TYPES[dtype], options)
    dataset.SetGeoTransform(transform)
    crs = osr.SpatialReference()
    crs.ImportFromEPSG(epsg)
    dataset.SetProjection(crs.ExportToWkt())
    if nodata is not None:
        for band in range(bands):
            dataset.GetRasterBand(band + 1).SetNoDataValue(nodata)
    return dataset


def write(path, bands, transform, epsg, nodata, options):
    """Writes planes to a temporary name first: an interrupted run leaves no half file behind."""
    height, width = bands[0].shape
    temporary = path + ".part"
    dataset = create(temporary, width, height, len(bands), str(bands[0].dtype), transform, epsg, nodata, options)
    dataset.WriteArray(np.stack(bands))
    dataset.FlushCache()
    dataset = None
    os.replace(temporary, path)


def utm(col, row, res=10.0):
    return (300000.0 + col * res, res, 0.0, 5500000.0 - row * res, 0.0, -res)


def tiled(side, compress, *more):
    return ["TILED=YES", f"BLOCKXSIZE={side}", f"BLOCKYSIZE={side}", f"COMPRESS={compress}", *more]


def strips(rows, compress, *more):
    return [f"BLOCKYSIZE={rows}", f"COMPRESS={compress}", *more]


# ---- workloads: each yields jobs (function, arguments); a job writes one file -------------------------------

def tile_job(path, index, col, row):
    rng = np.random.default_rng([SEED, 1, index])
    bands = [imagery(rng, col, row, 2048, 2048, band, "uint16") for band in range(3)]
    write(path, bands, utm(col, row), 32632, None, tiled(512, "LZW"))


def tiles(folder, scale):
    """64 adjacent tiles of 2048 x 2048 x 3 u16, tiled 512, LZW."""
    side = max(2, round(8 * scale))
    for index in range(side * side):
        col, row = index % side * 2048, index // side * 2048
        yield tile_job, (f"{folder}/tile_{index:03}.tif", index, col, row)


SCENE = (3000, 2600)


def collar(width, height, index):
    """True inside a quadrilateral tilted by 8 to 12 degrees: the valid part of a satellite scene."""
    slant = math.tan(math.radians(8 + index % 5))
    col = np.arange(width, dtype=np.float32)[None, :]
    row = np.arange(height, dtype=np.float32)[:, None]
    left = slant * (height - row) * 0.8
    right = width - 1 - slant * row * 0.8
    top = slant * 0.35 * col
    bottom = height - 1 - slant * 0.35 * (width - col)
    return (col >= left) & (col <= right) & (row >= top) & (row <= bottom)


def scene_job(path, index, col, row):
    rng = np.random.default_rng([SEED, 2, index])
    width, height = SCENE
    valid = collar(width, height, index)
    bands = [np.where(valid, imagery(rng, col, row, width, height, band, "uint16"), 0).astype(np.uint16)
             for band in range(3)]
    rows = (1, 16, 64)[index % 3]
    write(path, bands, utm(col, row), 32632, 0, strips(rows, "DEFLATE"))


def scenes(folder, scale):
    """48 overlapping scenes of 3000 x 2600 x 3 u16: Deflate strips of 1, 16 or 64 rows, slanted nodata-0 collars."""
    across, down = max(2, round(8 * scale)), max(2, round(6 * scale))
    for index in range(across * down):
        i, j = index % across, index // across
        col, row = i * 2150 + j * 37, j * 1900 + i * 53
        yield scene_job, (f"{folder}/scene_{index:03}.tif", index, col, row)


def dem_job(path, index, i, j):
    rng = np.random.default_rng([SEED, 3, index])
    side, nodata = 3601, (-9999.0, -32768.0)[index % 2]
    field = smooth(i * 3600, j * 3600, side, side, 2600)
    values = 700 + 650 * field + 0.4 * noise(rng, side, side)
    values = (np.rint(values * 64) / 64).astype(np.float32)  # as vendors quantise, else no codec finds anything
    for _ in range(6):  # lakes and voids
        x, y = rng.integers(0, side, 2)
        w, h = rng.integers(40, 500, 2)
        values[y:y + h, x:x + w] = nodata
    if index % 2 == 0:
        options = tiled(512, "DEFLATE", "PREDICTOR=3")
    else:
        options = strips((1, 16)[index % 4 // 2], "LZW")
    res = 1 / 3600
    transform = (7 + i - res / 2, res, 0.0, 47 - j + res / 2, 0.0, -res)
    write(path, [values], transform, 4326, nodata, options)


def dem(folder, scale):
    """36 f32 DEM tiles of 3601 x 3601 that share an edge row and column; Deflate predictor 3 or LZW strips."""
    side = max(2, round(6 * scale))
    for index in range(side * side):
        i, j = index % side, index // side
        yield dem_job, (f"{folder}/dem_{index:02}.tif", index, i, j)


def many_job(paths, first, side):
    for offset, path in enumerate(paths):
        index = first + offset
        rng = np.random.default_rng([SEED, 4, index])
        col, row = index % side * 256, index // side * 256
        write(path, [imagery(rng, col, row, 256, 256, 0, "uint8")], utm(col, row), 32632, None, strips(32, "LZW"))


def many(folder, scale):
    """10,000 adjacent tiles of 256 x 256 u8, LZW strips of 32 rows."""
    side = max(4, round(100 * scale))
    for first in range(0, side * side, side):
        paths = [f"{folder}/{first + i:05}.tif" for i in range(side)]
        yield many_job, (paths, first, side)


def sparse_job(path, index, col, row):
    rng = np.random.default_rng([SEED, 5, index])
    bands = [imagery(rng, col, row, 512, 512, band, "uint16") for band in range(3)]
    write(path, bands, utm(col, row, 1.0), 32632, 0, tiled(256, "DEFLATE"))


def sparse(folder, scale):
    """300 sources of 512 x 512 x 3 u16 scattered over a grid of 400,000 x 400,000."""
    side = round(400_000 * scale)
    rng = np.random.default_rng([SEED, 5])
    places = [(0, 0), (side - 512, side - 512)]
    places += [tuple(int(v) for v in rng.integers(0, side - 512, 2)) for _ in range(298)]
    for index, (col, row) in enumerate(places):
        yield sparse_job, (f"{folder}/sparse_{index:03}.tif", index, col, row)


def strip_job(path, index, height, compress):
    rng = np.random.default_rng([SEED, 6, index])
    bands = [imagery(rng, index * 9000, 0, 10_000, height, band, "uint16") for band in range(3)]
    write(path, bands, utm(index * 9000, 0), 32632, None, strips(height, compress))


def strip(folder, scale):
    """Two overlapping sources of 10,000 x 5,000 x 3 u16 = 300 MB, each one single strip: Deflate, LZW."""
    height = max(100, round(5000 * scale))
    for index, compress in enumerate(("DEFLATE", "LZW")):
        yield strip_job, (f"{folder}/strip_{compress.lower()}.tif", index, height, compress)


WORKLOADS = {"tiles": tiles, "scenes": scenes, "dem": dem, "many": many, "sparse": sparse, "strip": strip}


# ---- the maker --------------------------------------------------------------------------------------------

def run_job(job):
    function, arguments = job
    function(*arguments)


def size_of(folder):
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.name.endswith(".tif"))


def make(work, name, scale=1.0, processes=2):
    """Makes DIR/NAME unless its stamp says that it is there; returns the folder."""
    folder = os.path.join(work, name)
    stamp = os.path.join(folder, "stamp.json")
    wanted = {"version": VERSION, "scale": scale, "what": WORKLOADS[name].__doc__}
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as file:
            if json.load(file) == wanted:
                return folder
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    start = time.monotonic()
    with multiprocessing.Pool(processes) as pool:
        for _ in pool.imap_unordered(run_job, list(WORKLOADS[name](folder, scale))):
            pass
    with open(stamp, "w", encoding="utf-8") as file:
        json.dump(wanted, file)
    seconds = time.monotonic() - start
    print(f"made {name}: {WORKLOADS[name].__doc__} {size_of(folder) / 2**20:.0f} MiB in {seconds:.0f} s",
          file=sys.stderr, flush=True)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work")
    parser.add_argument("name", nargs="*", choices=[[], *WORKLOADS], default=[])
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_intermixed_args()
    for name in arguments.name or WORKLOADS:
        make(arguments.work, name, arguments.scale)


if __name__ == "__main__":
    main()
