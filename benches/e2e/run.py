#!/usr/bin/env python3
"""Runs smalti and the GDAL route in turn on large inputs and prints wall, CPU, peak memory and output size.

    run.py WORK --smalti PATH [NAME ...] [--rounds 2] [--memory 64M] [--check] [--scale S]

Inputs are made in WORK by inputs.py and kept; outputs are made in WORK/out and removed. The GDAL route is
`gdalbuildvrt -resolution highest` and `gdal_translate` of its result, with the options of GDAL_OPTIONS. Both
programs read warm files: the inputs are read once before the first run. Needs numpy and GDAL's Python
binding (Debian: python3-gdal) and GDAL's programs (gdal-bin) on PATH.

CPU seconds are user + system of all processes of a route; peak is the largest resident set of any of them.
The process that measures is started afresh and small, because Linux hands the peak of the process that forks
down to the one that it starts.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time

import inputs

GDAL_OPTIONS = ["TILED=YES", "COMPRESS=LZW", "NUM_THREADS=2", "BLOCKXSIZE=1024", "BLOCKYSIZE=1024",
                "INTERLEAVE=BAND", "BIGTIFF=YES"]
# The same choices in smalti's words.
SMALTI_OPTIONS = ["--compress", "lzw", "--predictor", "none", "--chunk", "1024", "--interleave", "band",
                  "--bigtiff", "yes", "--nodata-mode", "band", "--threads", "2", "--overwrite", "--quiet"]
# GDAL would write 900 GB of zeros through its encoder here; smalti alone, unless --gdal-sparse asks.
SMALTI_ONLY = {"sparse"}
EXTRA = {"sparse": ["--sparse"]}
# Routes that resample: inputs, words for smalti, words for gdal_translate. Pixels differ by design (the
# README says where), so they are not compared.
RESAMPLED = {
    "bilinear": ("scenes", ["--res", "7", "--resampling", "bilinear"], ["-r", "bilinear", "-tr", "7", "7"]),
    "average": ("scenes", ["--res", "100", "--resampling", "average"], ["-r", "average", "-tr", "100", "100"]),
}

NAMES = [*inputs.WORKLOADS, *RESAMPLED]

MEASURE = """
import json, os, sys, time
report = int(sys.argv[1])
os.set_inheritable(report, False)
start = time.monotonic()
pid = os.fork()
if pid == 0:
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    finally:
        os._exit(127)
_, status, usage = os.wait4(pid, 0)
json.dump({"code": os.waitstatus_to_exitcode(status), "wall": time.monotonic() - start,
           "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024}, os.fdopen(report, "w"))
"""


def measure(command, environment=None):
    """Runs one command; returns its wall and CPU seconds and its peak resident MiB."""
    read_end, write_end = os.pipe()
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", MEASURE, str(write_end), *command],
                               pass_fds=(write_end,), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})})
    os.close(write_end)
    output = process.communicate()[0].decode(errors="replace")
    with os.fdopen(read_end) as file:
        text = file.read()
    result = json.loads(text) if text else {"code": process.returncode}
    if result["code"] != 0:
        raise SystemExit(f"failed with code {result['code']}: {' '.join(command)}\n{output[-2000:]}")
    return result


def add(first, second):
    return {"code": 0, "wall": first["wall"] + second["wall"], "cpu": first["cpu"] + second["cpu"],
            "peak": max(first["peak"], second["peak"])}


def run_gdal(folder, name, output):
    """gdalbuildvrt over the sorted files, then gdal_translate: the later file lies on top, as in smalti."""
    listing, vrt = output + ".txt", output + ".vrt"
    with open(listing, "w", encoding="utf-8") as file:
        for path in sorted(entry.path for entry in os.scandir(folder) if entry.name.endswith(".tif")):
            file.write(path + "\n")
    environment = {"GDAL_CACHEMAX": "256"}
    options = GDAL_OPTIONS + (["SPARSE_OK=TRUE"] if name in EXTRA else [])
    create = [word for option in options for word in ("-co", option)]
    build = measure(["gdalbuildvrt", "-q", "-overwrite", "-resolution", "highest", "-input_file_list", listing,
                     vrt], environment)
    words = RESAMPLED[name][2] if name in RESAMPLED else []
    translate = measure(["gdal_translate", "-q", *words, *create, vrt, output], environment)
    return {**add(build, translate), "open": build["wall"], "size": os.path.getsize(output)}


def run_smalti(program, folder, name, output, more):
    command = [program, "mosaic", folder, "-o", output, *SMALTI_OPTIONS, *EXTRA.get(name, []),
               *(RESAMPLED[name][1] if name in RESAMPLED else []), *more]
    return {**measure(command), "size": os.path.getsize(output)}


def warm(folder):
    for entry in os.scandir(folder):
        with open(entry.path, "rb") as file:
            while file.read(1 << 24):
                pass


def differing(first, second, side=2048):
    """Number of samples that differ, read by blocks; NaN equals NaN. A different size or type is an error."""
    import numpy as np

    a, b = inputs.gdal.Open(first), inputs.gdal.Open(second)
    shape = [(d.RasterXSize, d.RasterYSize, d.RasterCount, d.GetRasterBand(1).DataType) for d in (a, b)]
    if shape[0] != shape[1]:
        raise SystemExit(f"{first} is {shape[0]}, {second} is {shape[1]}")
    for x, y in zip(a.GetGeoTransform(), b.GetGeoTransform()):
        if abs(x - y) > 1e-9 * max(1.0, abs(x)):
            raise SystemExit(f"geotransforms differ: {a.GetGeoTransform()} and {b.GetGeoTransform()}")
    for band in range(1, a.RasterCount + 1):
        nodata = [d.GetRasterBand(band).GetNoDataValue() for d in (a, b)]
        if nodata[0] != nodata[1] and not all(v is not None and v != v for v in nodata):
            raise SystemExit(f"nodata differs: {nodata}")
    count = 0
    for row in range(0, a.RasterYSize, side):
        rows = min(side, a.RasterYSize - row)
        for col in range(0, a.RasterXSize, side):
            cols = min(side, a.RasterXSize - col)
            x, y = a.ReadAsArray(col, row, cols, rows), b.ReadAsArray(col, row, cols, rows)
            unequal = x != y
            if x.dtype.kind == "f":
                unequal &= ~((x != x) & (y != y))
            count += int(np.count_nonzero(unequal))
    return count


def show(name, route, round_index, result, ratio=""):
    raw = f"{result['size'] / 2**20:9.1f}"
    print(f"{name:8} {route:14} {round_index:3} {result['wall']:9.2f} {result['cpu']:9.2f} {result['peak']:9.1f} "
          f"{raw} {ratio:>7}", flush=True)


def bench(arguments, name):
    source = RESAMPLED[name][0] if name in RESAMPLED else name
    folder = inputs.make(arguments.work, source, arguments.scale)
    out = os.path.join(arguments.work, "out")
    os.makedirs(out, exist_ok=True)
    ours, theirs = os.path.join(out, f"{name}-smalti.tif"), os.path.join(out, f"{name}-gdal.tif")
    routes = []
    if arguments.smalti:
        more = arguments.option
        routes.append(("smalti", lambda: run_smalti(arguments.smalti, folder, name, ours, more)))
        for memory in arguments.memory:
            options = [*more, "--memory", memory]
            routes.append((f"smalti {memory}", lambda o=options: run_smalti(arguments.smalti, folder, name, ours, o)))
    if not arguments.no_gdal and (name not in SMALTI_ONLY or arguments.gdal_sparse):
        routes.append(("gdal", lambda: run_gdal(folder, name, theirs)))
    warm(folder)
    results = {route: [] for route, _ in routes}
    for round_index in range(arguments.rounds):
        for route, run in routes:
            for path in (ours, theirs):
                if route.split()[0] in path and os.path.exists(path):
                    os.remove(path)
            os.sync()  # the last run's dirty pages are not this one's business
            result = run()
            results[route].append(result)
            ratio = ""
            if route == "gdal" and "smalti" in results:
                ratio = f"{result['wall'] / results['smalti'][round_index]['wall']:.2f}x"
            show(name, route, round_index + 1, result, ratio)
    for route, runs in results.items():
        best = {key: min(run[key] for run in runs) for key in ("wall", "cpu", "peak", "size")}
        best["peak"] = max(run["peak"] for run in runs)
        ratio = ""
        if "gdal" in results and route != "gdal":
            ratio = f"{min(run['wall'] for run in results['gdal']) / best['wall']:.2f}x"
        show(name, route, "min", best, ratio)
    if arguments.check and name not in RESAMPLED and os.path.exists(ours) and os.path.exists(theirs):
        count = differing(ours, theirs)
        print(f"{name:8} check: {count} differing samples", flush=True)
        arguments.failed |= count != 0
    if not arguments.keep:
        shutil.rmtree(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", help="directory for inputs and outputs; 12 GB of inputs, 3 GB of outputs")
    parser.add_argument("name", nargs="*", help=f"workloads, of {', '.join(NAMES)}; default all")
    parser.add_argument("--smalti", help="path of the program; without it only GDAL runs")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--memory", action="append", default=[], metavar="SIZE",
                        help="adds runs with --memory SIZE; may be repeated")
    parser.add_argument("--option", action="append", default=[], help="one more word for smalti, e.g. --option=-v")
    parser.add_argument("--check", action="store_true", help="compares the pixels of both outputs")
    parser.add_argument("--no-gdal", action="store_true")
    parser.add_argument("--gdal-sparse", action="store_true", help="runs GDAL on `sparse` too (an hour)")
    parser.add_argument("--keep", action="store_true", help="keeps the outputs")
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_intermixed_args()
    arguments.failed = False
    unknown = set(arguments.name) - set(NAMES)
    if unknown:
        parser.error(f"no workload {', '.join(sorted(unknown))}")
    print(f"{'input':8} {'route':14} {'run':>3} {'wall s':>9} {'cpu s':>9} {'peak MiB':>9} {'out MiB':>9} "
          f"{'gdal/us':>7}")
    start = time.monotonic()
    for name in arguments.name or NAMES:
        bench(arguments, name)
    print(f"took {time.monotonic() - start:.0f} s")
    sys.exit(1 if arguments.failed else 0)


if __name__ == "__main__":
    main()
