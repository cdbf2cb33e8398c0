"""Compares what smalti reads of the collections in ../shared with what other readers do.

Usage: python odd_files.py DUMP DATA_DIR [--write-table]

Every file under `peculiar` and `hostile` must be pixel-equal to GDAL (rasterio's, else Debian's: their JPEG
libraries differ), or be refused where GDAL refuses it too, or stand in `odd_files.csv` with its outcome and
the reason for it. No file may crash, take more than 10 seconds (of a debug build on a busy machine) or 1 GiB, the dumped image with it.
"""

import collections
import csv
import os
import pathlib
import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import rasterio

warnings.filterwarnings("ignore")
TABLE = pathlib.Path(__file__).with_name("odd_files.csv")
FILES = 1149
MOST_SAMPLES = 60_000_000
DEBIAN = ("import sys; from osgeo import gdal; import numpy; gdal.UseExceptions();"
          "a = gdal.Open(sys.argv[1]).ReadAsArray(); a = a[None] if a.ndim == 2 else a;"
          "sys.stdout.buffer.write(a.tobytes())")
COMPLEX = {"complex_int16": "int16", "complex_int32": "int32", "complex64": "float32", "complex128": "float64"}


def dump(program, path):
    """(outcome, detail, samples) of the first image."""
    began = time.time()
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    run = subprocess.run([program, path], capture_output=True, preexec_fn=limit, timeout=60)
    took = time.time() - began
    if run.returncode or took > 10:
        return "crash", f"exit {run.returncode} after {took:.1f} s {run.stderr[-200:]!r}", None
    head, _, body = run.stdout.partition(b"\n")
    head = head.decode().split("\t")
    if head[0] == "error":
        return "refused", head[2], None
    dtype, (bands, rows, cols) = head[2], map(int, head[3:6])
    body = body[: int(head[-1])]
    if dtype in COMPLEX:
        parts = np.frombuffer(body, COMPLEX[dtype]).reshape(bands, rows, cols, 2)
        wide = np.float64 if COMPLEX[dtype] in ("int32", "float64") else np.float32
        data = parts[..., 0].astype(wide) + 1j * parts[..., 1].astype(wide)
        return "read", dtype, data
    return "read", dtype, np.frombuffer(body, dtype).reshape(bands, rows, cols)


def gdal(path):
    try:
        with rasterio.open(path, driver="GTiff") as src:
            if src.width * src.height * src.count > MOST_SAMPLES:
                return "large", None
            return "read", src.read()
    except Exception as error:
        return "refused", str(error)[:60]


def same(a, b):
    if np.iscomplexobj(a):
        return a.shape == b.shape and np.array_equal(a.astype(b.dtype), b, equal_nan=True)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == np.ascontiguousarray(b).tobytes()


def outcome(program, path):
    ours, detail, data = dump(program, path)
    if ours == "crash":
        return "crash", detail
    theirs, expected = gdal(path)
    if ours == "refused":
        return ("both refuse" if theirs == "refused" else "refused"), detail
    if theirs != "read":
        return f"read, GDAL: {theirs}", detail
    if same(data, expected):
        return "equal", detail
    run = subprocess.run(["/usr/bin/python3", "-c", DEBIAN, path], capture_output=True)
    if run.returncode == 0 and run.stdout == data.tobytes():
        return "equal to Debian's", detail
    return "differs", detail


def main():
    program, root = sys.argv[1], pathlib.Path(sys.argv[2])
    known = {row["file"]: row for row in csv.DictReader(open(TABLE))} if TABLE.exists() else {}
    counts, faults, table = collections.Counter(), [], []
    paths = sorted(p for folder in ("peculiar", "hostile") for p in (root / folder).rglob("*") if p.is_file())
    paths = [p for p in paths if p.suffix not in (".csv", ".md", ".tfw", ".xml", ".ovr", ".msk")]
    for path in paths:
        name = path.relative_to(root).as_posix()
        found, detail = outcome(program, str(path))
        counts[found] += 1
        if found in ("equal", "equal to Debian's", "both refuse"):
            continue
        row = known.get(name)
        reason = row["reason"] if row else ""
        table.append([name, found, detail, reason])
        if found == "crash" or row is None or (row["outcome"], row["detail"]) != (found, detail):
            faults.append(f"{name}: {found} ({detail}), expected {row and row['outcome']}")
    if "--write-table" in sys.argv:
        with open(TABLE, "w", newline="") as f:
            out = csv.writer(f, lineterminator="\n")
            out.writerow(["file", "outcome", "detail", "reason"])
            out.writerows(table)
    print(len(paths), "files:", dict(counts))
    if len(paths) != FILES:
        faults.append(f"{len(paths)} files, expected {FILES}")
    if faults and "--write-table" not in sys.argv:
        print("\n".join(faults))
        sys.exit(1)


main()
