"""Makes tables.bin: what smalti knows of EPSG's and ESRI's coordinate reference systems.

    python -m pip install pyproj==3.7.2      # PROJ 9.5.1, EPSG v11.022
    python src/crs/table/generate.py src/crs/table/tables.bin

Source: the EPSG Geodetic Parameter Dataset (owned by IOGP, https://epsg.org; its terms of use ask that it be
acknowledged) and ESRI's definitions, both through PROJ's database.

The file is lines of text, `key TAB field TAB field ...`, sorted by key and cut into zlib blocks; `mod.rs` beside
this script says what the keys and fields are.
"""
import math
import re
import sqlite3
import struct
import sys
import os
import warnings
import zlib

import pyproj
from pyproj import CRS
from pyproj.transformer import TransformerGroup

warnings.filterwarnings("ignore")
DB = sqlite3.connect(os.path.join(pyproj.datadir.get_data_dir(), "proj.db"))
AUTHORITIES = {"EPSG": "E", "ESRI": "R"}
BLOCK_BYTES = 8000
lines = {}


def query(sql, *args):
    """Rows; codes are texts, though the database keeps some as integers."""
    return [tuple(str(v) if isinstance(v, int) else v for v in row) for row in DB.execute(sql, args)]


def put(key, *fields):
    texts = ["" if f is None else str(f).replace("\t", " ").replace("\n", " ") for f in fields]
    lines[key] = "\t".join(texts)


def ident(authority, code):
    return f"{AUTHORITIES[authority]}{int(code):06d}"


def short(ident_):
    return f"{ident_[0]}{int(ident_[1:])}"


def number(value):
    return "" if value is None else f"{value:.15g}"


def letters(text):
    # CH1903+ is not CH1903.
    return "".join(c for c in text.lower().replace("+", "plus") if c.isalnum())


def box(crs):
    a = crs.area_of_use
    return ",".join(number(v) for v in a.bounds) if a else ""


# Units: U + code -> name, size (metres or radians), kind (l, a).
UNIT = {}
for name, code, kind, factor in query(
        "select name, code, type, conv_factor from unit_of_measure where auth_name='EPSG' and type in ('length','angle')"):
    if int(code) in (9107, 9108, 9110, 9115, 9116, 9117, 9118, 9119, 9120, 9122):
        factor = math.pi / 180  # degrees in other notations
    if code.isdigit() and factor:
        UNIT[("EPSG", code)] = factor
        put("U" + ident("EPSG", code), name, repr(factor), kind[0])

# Ellipsoids: L + code -> name, semi-major axis in metres, inverse flattening (0: sphere).
ELLIPSOID = {}
for auth, code, name, a, unit_auth, unit, rf, b in query(
        "select auth_name, code, name, semi_major_axis, uom_auth_name, uom_code, inv_flattening, semi_minor_axis"
        " from ellipsoid where auth_name in ('EPSG','ESRI')"):
    metres = UNIT.get((unit_auth, unit), 1.0)
    if rf is None:
        rf = 0.0 if b is None or b == a else a / (a - b)
    ELLIPSOID[(auth, code)] = (a * metres, rf)
    put("L" + ident(auth, code), name, repr(a * metres), repr(float(rf)))

# Prime meridians: M + code -> name, degrees east of Greenwich.
MERIDIAN = {}
for auth, code, name, longitude, unit_auth, unit in query(
        "select auth_name, code, name, longitude, uom_auth_name, uom_code from prime_meridian where auth_name in ('EPSG','ESRI')"):
    if unit == "9110":  # sexagesimal DDD.MMSSsss
        sign, text = (-1 if longitude < 0 else 1), f"{abs(longitude):.10f}"
        d, m = text.split(".")
        degrees = sign * (int(d) + int(m[:2]) / 60 + float(m[2:4] + "." + m[4:]) / 3600)
    else:
        degrees = longitude * math.degrees(UNIT[(unit_auth, unit)])
    MERIDIAN[(auth, code)] = degrees
    put("M" + ident(auth, code), name, number(degrees))

# Datums: D + code -> name, ellipsoid, prime meridian in degrees. Names: N + letters -> datum.
DATUM_CRS = {}
for auth, code, name, e_auth, e_code, m_auth, m_code in query(
        "select auth_name, code, name, ellipsoid_auth_name, ellipsoid_code, prime_meridian_auth_name,"
        " prime_meridian_code from geodetic_datum where auth_name in ('EPSG','ESRI')"):
    if not code.isdigit():
        continue  # a variant that PROJ's database adds
    put("D" + ident(auth, code), name, short(ident(e_auth, e_code)), number(MERIDIAN[(m_auth, m_code)]))
names = query("select auth_name, code, name, 0, deprecated from geodetic_datum where auth_name in ('EPSG','ESRI')")
names += [(a, c, n, "1", "0") for a, c, n in query(
    "select auth_name, code, alt_name from alias_name where table_name='geodetic_datum' and auth_name in ('EPSG','ESRI')")]
names.sort(key=lambda r: (r[4], r[0] == "ESRI", r[3], len(r[1]), r[1]))
for auth, code, name, _, _ in names:
    if not code.isdigit():
        continue
    plain = letters(name[2:] if name.startswith("D_") else name)
    if plain and "N" + plain not in lines:
        put("N" + plain, short(ident(auth, code)))
# Ellipsoid names: n + letters -> ellipsoid.
for table, prefix in (("ellipsoid", "n"),):
    rows = query(f"select auth_name, code, name, deprecated from {table} where auth_name in ('EPSG','ESRI')")
    rows += [(a, c, n, "0") for a, c, n in query(
        "select auth_name, code, alt_name from alias_name where table_name=? and auth_name in ('EPSG','ESRI')", table)]
    rows.sort(key=lambda r: (r[3], r[0] == "ESRI", len(r[1]), r[1]))
    for auth, code, name, _ in rows:
        if not code.isdigit():
            continue
        key = prefix + letters(name)
        if key not in lines:
            put(key, short(ident(auth, code)))

# WGS 84's realisations speak for the ensemble: A + code -> code of the datum meant.
for (code,) in query("select member_code from geodetic_datum_ensemble_member where ensemble_code='6326'"):
    put("A" + ident("EPSG", code), "E6326")

# CRSs: C + code -> kind, name, then by kind:
#   G geographic 2D: datum, prime meridian, unit code, unit in radians, area, rank
#   3 geographic 3D: the 2D CRS that it extends
#   P projected: base CRS, PROJ parameters of the projection, unit code, unit in metres, axes, area, rank (1 for
#     deprecated ones and those whose northing comes first: others with the same meaning are preferred)
#   V vertical: datum, unit code, unit in metres, direction (u, d)
#   K compound: horizontal, vertical
#   X geocentric
FLAT = {}
geodetic = query("select auth_name, code, name, type, datum_auth_name, datum_code, coordinate_system_auth_name,"
                 " coordinate_system_code, deprecated from geodetic_crs where auth_name in ('EPSG','ESRI')"
                 " order by deprecated, auth_name, cast(code as integer)")


def axis_unit(cs_auth, cs_code):
    return query("select uom_auth_name, uom_code, orientation from axis where coordinate_system_auth_name=?"
                 " and coordinate_system_code=? order by coordinate_system_order", cs_auth, cs_code)


for auth, code, name, kind, d_auth, d_code, c_auth, c_code, deprecated in geodetic:
    if kind != "geographic 2D" or d_auth not in AUTHORITIES or not (code.isdigit() and d_code.isdigit()):
        continue
    (u_auth, u_code, _), *_ = axis_unit(c_auth, c_code)
    datum = short(ident(d_auth, d_code))
    meridian = lines["D" + ident(d_auth, d_code)].split("\t")[2]
    crs = CRS.from_authority(auth, code)
    FLAT.setdefault((d_auth, d_code), (auth, code))
    DATUM_CRS.setdefault(datum, []).append((auth, code))
    put("C" + ident(auth, code), "G", name, datum, meridian, u_code, repr(UNIT[(u_auth, u_code)]), box(crs),
        deprecated)
for auth, code, name, kind, d_auth, d_code, *_ in geodetic:
    if not code.isdigit():
        continue
    if kind == "geographic 3D" and (d_auth, d_code) in FLAT:
        put("C" + ident(auth, code), "3", name, short(ident(*FLAT[(d_auth, d_code)])))
    elif kind == "geocentric":
        put("C" + ident(auth, code), "X", name)
# Datum -> its 2D CRS in degrees from its meridian: F + datum code.
for (d_auth, d_code), (auth, code) in FLAT.items():
    put("F" + ident(d_auth, d_code), short(ident(auth, code)))

DROP = {"ellps", "a", "b", "rf", "f", "R", "datum", "pm", "units", "to_meter", "no_defs", "type", "axis", "wktext",
        "nadgrids", "towgs84", "vunits", "vto_meter", "geoidgrids", "geoid_crs"}


def projection_of(crs):
    """PROJ's parameters without ellipsoid, datum, unit and axes; None if PROJ has no string for it."""
    try:
        text = crs.to_proj4()
    except Exception:
        return None
    if not text or "+proj=" not in text:
        return None
    if "+a=6378137 +b=6378137" in text and "+proj=merc" in text:
        return "+proj=webmerc +lat_0=0 +lon_0=0 +x_0=0 +y_0=0"
    kept = [w for w in text.split() if w.lstrip("+").split("=")[0] not in DROP]
    base = crs.geodetic_crs.ellipsoid
    own = re.search(r"\+R=(\S+)", text)
    if own and abs(base.semi_major_metre - float(own[1])) > 1e-6:
        kept.append(own[0])
    return " ".join(kept)


AXES = {"east": "e", "west": "w", "north": "n", "south": "s"}
count = 0
for auth, code, name, b_auth, b_code, c_auth, c_code, deprecated in query(
        "select auth_name, code, name, geodetic_crs_auth_name, geodetic_crs_code, coordinate_system_auth_name,"
        " coordinate_system_code, deprecated from projected_crs where auth_name in ('EPSG','ESRI')"):
    if not code.isdigit():
        continue
    crs = CRS.from_authority(auth, code)
    axes = [a.direction.lower() for a in crs.axis_info]
    unit = crs.axis_info[0].unit_conversion_factor
    unit_code = crs.axis_info[0].unit_code or ""
    letters_ = "".join(AXES.get(a, "?") for a in axes)
    # x is what counts east or west, y what counts north or south; polar grids keep their order. always_xy only
    # turns (north, east) round.
    text = crs.to_proj4() or "" if projection_of(crs) else ""
    axis = re.search(r"\+axis=(\S+)", text)
    kind = axis[1][:2] if axis and axis[1] not in ("enu", "neu") else "en"
    # Of these two the string leaves the axes out, and the pipeline does not.
    kind = "sw" if (auth, code) in (("EPSG", "8044"), ("EPSG", "8045")) else kind
    area = (crs.area_of_use.name if crs.area_of_use else "").lower()
    sea = ("offshore" in area or "continental shelf" in area) and "onshore" not in area
    base = crs.geodetic_crs
    base_auth = base.to_authority()
    if base_auth and base_auth[0] in AUTHORITIES:
        b = short(ident(*base_auth))
    elif b_auth in AUTHORITIES:
        b = short(ident(b_auth, b_code))
    else:
        continue
    put("C" + ident(auth, code), "P", name, b, projection_of(crs), unit_code, repr(unit), kind, box(crs),
        0 if letters_ == "en" and deprecated == "0" else 1, *(["o"] if sea else []))
    count += 1
print(count, "projected")
for auth, code, name, d_auth, d_code, c_auth, c_code in query(
        "select auth_name, code, name, datum_auth_name, datum_code, coordinate_system_auth_name,"
        " coordinate_system_code from vertical_crs where auth_name in ('EPSG','ESRI')"):
    if code.isdigit() and d_code.isdigit() and d_auth in AUTHORITIES:
        (u_auth, u_code, direction), *_ = axis_unit(c_auth, c_code)
        put("C" + ident(auth, code), "V", name, short(ident(d_auth, d_code)), u_code, repr(UNIT[(u_auth, u_code)]),
            "d" if direction.lower() == "down" else "u")
for auth, code, name, h_auth, h_code, v_auth, v_code in query(
        "select auth_name, code, name, horiz_crs_auth_name, horiz_crs_code, vertical_crs_auth_name, vertical_crs_code"
        " from compound_crs where auth_name in ('EPSG','ESRI')"):
    if code.isdigit() and h_auth in AUTHORITIES and v_auth in AUTHORITIES:
        put("C" + ident(auth, code), "K", name, short(ident(h_auth, h_code)), short(ident(v_auth, v_code)))
# Vertical datums and their names: W + code -> name; v + letters -> vertical CRS.
for auth, code, name in query("select auth_name, code, name from vertical_crs where auth_name='EPSG' order by deprecated, cast(code as integer)"):
    lines.setdefault("v" + letters(name), short(ident(auth, code)))

# Map projections by themselves (ProjectionGeoKey): J + code -> name, PROJ parameters in metres and degrees.
for name, code, in query("select distinct c.name, c.code from conversion_table c join projected_crs p on"
                         " p.conversion_code=c.code and p.conversion_auth_name=c.auth_name where c.auth_name='EPSG'"):
    p_auth, p_code = query("select auth_name, code from projected_crs where conversion_auth_name='EPSG' and"
                           " conversion_code=? order by deprecated", code)[0]
    if "C" + ident(p_auth, p_code) in lines and code.isdigit():
        fields = lines["C" + ident(p_auth, p_code)].split("\t")
        put("J" + ident("EPSG", code), name, fields[3], fields[6])


# Operations between datums: O + from > to -> candidates in PROJ's order, joined by ';', each
# `name|accuracy|west,south,east,north|steps|o where it is for the sea only`; steps are joined by '+': `h:` 3, 7 or
# 10 parameters (metres, arc seconds, parts per million; position vector; the point that is turned about), `i:` the same
# backwards, `g:` longitude and latitude offset in arc seconds, `!` what is not known.
# No steps: coordinates stay as they are.
def rotated(args):
    v = [float(args.get(k, 0)) for k in ("x", "y", "z", "rx", "ry", "rz", "s")]
    if args.get("convention") == "coordinate_frame":
        v[3:6] = [-r for r in v[3:6]]
    return v


def badekas(args):
    return rotated(args) + [float(args.get(k, 0)) for k in ("px", "py", "pz")]


def inverse(v):
    """The inverse of 3 parameters; 7 are kept as `i:`."""
    return [-a for a in v]


HARMLESS = {"pipeline", "unitconvert", "axisswap", "push", "pop", "cart", "noop", "longlat", "latlong", "geogoffset", "set"}


def steps_of(definition):
    steps = []
    for text in re.split(r"(?:^| )step ", " " + definition.replace("+", " ")):
        words = text.split()
        is_inverse = "inv" in words
        args = dict(w.split("=", 1) for w in words if "=" in w)
        proj = args.get("proj")
        if proj in ("helmert", "molobadekas"):
            v = badekas(args) if proj == "molobadekas" else rotated(args)
            if any(v[3:7]):
                steps.append(("i:" if is_inverse else "h:") + ",".join(number(a) for a in v))
            else:
                v = inverse(v) if is_inverse else v
                steps.append("h:" + ",".join(number(a) for a in v[:3]))
        elif proj == "geogoffset":
            v = [float(args.get(k, 0)) * (-1 if is_inverse else 1) for k in ("dlon", "dlat")]
            steps.append("g:" + ",".join(number(a) for a in v))
        elif proj is not None and proj not in HARMLESS:
            steps.append("!" + proj)
    if not steps and definition.count("proj=cart") == 2:
        return "h:0,0,0"  # from one ellipsoid to another
    return "+".join(steps)


def clean(description):
    return description.replace("axis order change (2D) + ", "").replace(" + axis order change (2D)", "") \
        .replace("|", "/").replace(";", ",").replace("axis order change (geographic3D horizontal) + ", "")


def operations(source, target):
    group = TransformerGroup(source, target, always_xy=True, allow_ballpark=True)
    found = []
    for t in group.transformers:
        if "allpark" in t.description:
            continue
        area = ",".join(number(v) for v in t.area_of_use.bounds) if t.area_of_use else "-180,-90,180,90"
        sea = "o" if t.area_of_use and "- offshore" in t.area_of_use.name else ""
        entry = "|".join([clean(t.description), number(t.accuracy), area, steps_of(t.definition), sea])
        if entry not in found:
            found.append(entry)
    return ";".join(found)


def preferred(datum):
    """The CRS that stands for a datum: in EPSG, not deprecated, where there is one."""
    return DATUM_CRS[datum][0]


def crs_of(datum):
    return CRS.from_authority(*preferred(datum))


def datum_key(datum):
    return f"{datum[0]}{int(datum[1:]):06d}"


wgs84 = CRS.from_epsg(4326)
pairs = {(d, "E6326") for d in DATUM_CRS if d != "E6326"}
datum_of_crs = {f"{a}:{c}": d for d, all_ in DATUM_CRS.items() for a, c in all_}
for s_auth, s_code, t_auth, t_code in query(
        "select distinct source_crs_auth_name, source_crs_code, target_crs_auth_name, target_crs_code"
        " from helmert_transformation_table where deprecated=0"):
    s, t = datum_of_crs.get(f"{s_auth}:{s_code}"), datum_of_crs.get(f"{t_auth}:{t_code}")
    if s and t and s != t and "E6326" not in (s, t) and (t, s) not in pairs:
        pairs.add((s, t))
print(len(pairs), "pairs of datums")
for source, target in sorted(pairs):
    text = operations(crs_of(source), crs_of(target))
    if text:
        put(f"O{datum_key(source)}>{datum_key(target)}", text)

# ESRI's maps of a sphere on an ellipsoid, whose word belongs to the ellipsoid elsewhere.
for key in ("CR102035", "CR102037"):
    lines[key] = lines[key].replace("+proj=ortho ", "+proj=ortho +f=0 ")
# A longitude rotation, which PROJ hides in a step of longlat: Tokyo 1892 to Tokyo's meridian of 1918.
rotation = "OE001048>E006326"
lines[rotation] = lines[rotation].replace("|h:", "|g:10.405,0+h:", 1)

blocks, current, size = [], [], 0
for key in sorted(lines, key=lambda k: k.encode()):
    line = f"{key}\t{lines[key]}\n".encode()
    if size + len(line) > BLOCK_BYTES and current:
        blocks.append(current)
        current, size = [], 0
    current.append((key.encode(), line))
    size += len(line)
blocks.append(current)
# Header: count of blocks; per block: offset of its bytes, their length, length of the text, length of the first
# key, first key.
index, body = b"", b""
for block in blocks:
    text = b"".join(line for _, line in block)
    packed = zlib.compress(text, 9)
    first = block[0][0]
    index += struct.pack("<IIIB", len(body), len(packed), len(text), len(first)) + first
    body += packed
with open(sys.argv[1], "wb") as file:
    file.write(struct.pack("<II", len(blocks), len(index)) + index + body)
if len(sys.argv) > 2:
    with open(sys.argv[2], "wb") as file:
        file.write(b"".join(line for block in blocks for _, line in block))
print(len(lines), "rows,", len(blocks), "blocks,", len(index) + len(body), "bytes")
