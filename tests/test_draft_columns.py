"""Names of columns, separators, clocks, units and texts: what the first rows of a table say."""

from pathlib import Path
from typing import Any

import draft_files
import numpy as np
import pytest
from draft_files import G
from hypothesis import assume, given
from hypothesis import strategies as st
from test_layouts import LAYOUTS

from modelreg.data import physics, sensors
from modelreg.data.draft import clock, columns, dialect, groups, headers, norms, tables, words
from modelreg.data.draft.headers import Triple
from modelreg.data.draft.tables import Table
from modelreg.data.sources.containers import open_tree
from modelreg.records.csv_device import CsvForm
from modelreg.records.model import Channel

HEADERS = {
    "time,gFx,gFy,gFz,wx,wy,wz": [("acc", None, "g", "", (1, 2, 3)), ("gyro", None, None, "", (4, 5, 6))],
    "t,ax,ay,az,gx,gy,gz": [("acc", None, None, "", (1, 2, 3)), ("gyro", None, None, "", (4, 5, 6))],
    "gx,gy,gz": [("acc", None, "g", "", (0, 1, 2))],
    "time,z,y,x": [(None, None, None, "", (3, 2, 1))],
    "x-axis (g),y-axis (g),z-axis (g)": [("acc", None, "g", "", (0, 1, 2))],
    "x-axis (deg/s),y-axis (deg/s),z-axis (deg/s)": [("gyro", None, "deg/s", "", (0, 1, 2))],
    "attr_x,attr_y,attr_z": [(None, None, None, "", (0, 1, 2))],
    "Acceleration x (m/s^2),Acceleration y (m/s^2),Acceleration z (m/s^2)": [("acc", None, "m/s2", "", (0, 1, 2))],
    "Linear Acceleration x [m/s²],Linear Acceleration y [m/s²],Linear Acceleration z [m/s²]": [
        ("acc", "removed", "m/s2", "", (0, 1, 2))
    ],
    "totalAccX,totalAccY,totalAccZ": [("acc", "included", None, "", (0, 1, 2))],
    "gravity.x,gravity.y,gravity.z": [("gravity", None, None, "", (0, 1, 2))],
    "MAGX,MAGY,MAGZ": [("mag", None, None, "", (0, 1, 2))],
    "mx,my,mz": [("mag", None, None, "", (0, 1, 2))],
    "x_acc,y_acc,z_acc": [("acc", None, None, "", (0, 1, 2))],
    "xAcc,yAcc,zAcc": [("acc", None, None, "", (0, 1, 2))],
    "xacc,yacc,zacc": [("acc", None, None, "", (0, 1, 2))],
    "rotationRate.x,rotationRate.y,rotationRate.z": [("gyro", None, None, "", (0, 1, 2))],
    "motionUserAccelerationX(G),motionUserAccelerationY(G),motionUserAccelerationZ(G)": [
        ("acc", "removed", "g", "", (0, 1, 2))
    ],
    "left_wrist_ax,left_wrist_ay,left_wrist_az": [("acc", None, None, "left wrist", (0, 1, 2))],
    "hand x,hand y,hand z": [(None, None, None, "hand", (0, 1, 2))],
    "qx,qy,qz,qw": [("other", None, None, "", (0, 1, 2))],
    "acc (rad/s) x,a": [],
    "roll,pitch,yaw": [],
    "max,may,maz,index": [],
    "ax,ay": [],
}


@pytest.mark.parametrize(("header", "found"), HEADERS.items(), ids=HEADERS)
def test_the_sensors_of_a_header(header, found) -> None:
    """Quantity, gravity, unit, further words, and the columns of the axes."""
    assert headers.triples(header.split(",")) == [Triple(*each) for each in found]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        *(("m/s²", "m/s2"), ("m/s^2", "m/s2"), ("cm/s²", "cm/s2"), ("G", "g"), ("milli-g", "mg"), ("°/s", "deg/s")),
        *(("µT", "uT"), ("rad/s", "rad/s"), ("V", None), ("µs", "us"), ("Milliseconds", "ms"), ("s", "s")),
    ],
)
def test_units(text, unit) -> None:
    """By one of their spellings, in brackets."""
    assert headers.unit_in(f"x ({text})") == unit


@pytest.mark.parametrize("text", [text for spellings in sensors.FACTORS.values() for text in spellings])
def test_a_draft_has_the_unit_that_data_check_reads(text) -> None:
    """Of every spelling, the quantity and the factor stay."""
    unit = headers.unit_in(f"x ({text})")

    assert unit is not None
    assert sensors.read_unit(unit) == sensors.read_unit(text) is not None


def test_gauss_is_a_unit_of_magnetometers_only() -> None:
    """Elsewhere G is gravity."""
    assert [headers.unit_in(name) for name in ("Magnetometer x (G)", "Accelerometer x (G)")] == ["gauss", "g"]


@pytest.mark.parametrize("text", [text for spellings in words.vocabulary().time_units.values() for text in spellings])
def test_no_unit_of_time_is_one_of_a_sensor(text) -> None:
    """A column of times would be one of a sensor."""
    assert sensors.read_unit(text) is None


def forms() -> dict[str, dict[str, Any]]:
    """The form of every kind of text file in the miniatures, by its layout."""
    return {
        "actigraph/annaRAW.csv": {"skip": 10},
        "androsensor/rest/anna1.csv": {"separator": ";"},
        "axivity/anna.csv": {"header": False},
        "axivity/labels.tsv": {"separator": "\t"},
        "boris/anna_events.csv": {},
        "daylight_saving/anna.csv": {"encoding": "utf-16"},
        "long_format/anna/rest.txt": {"separator": ";", "header": False},
        "mbientlab/anna_rest_Gyroscope.csv": {},
        "mhealth/mHealth_subject1.log": {"separator": "\t", "header": False},
        "motionsense/sit_5/sub_1.csv": {},
        "one_table/all.csv.gz": {},
        "pamap2/Protocol/subject101.dat": {"separator": "blanks", "header": False},
        "phyphox_german/anna_rest/Accelerometer.csv": {"separator": ";", "decimal": ","},
        "phyphox_single/Anna/RestFrontPocket.csv": {},
        "physics_toolbox/anna-rest.csv": {},
        "sensor_logger/anna/rest-2024-05-07_08-30-00/Accelerometer.csv": {},
        "two_column_clock/anna_rest.csv": {},
        "wisdm_v1/WISDM_ar_v1.1_raw.txt": {"row_end": ";", "header": False},
        "wisdm_v2/raw/phone/accel/data_1600_accel_phone.txt": {"row_end": ";", "header": False},
        "uci_har/activity_labels.txt": {"separator": "blanks", "header": False},
    }


@pytest.mark.parametrize(("path", "form"), forms().items(), ids=forms())
def test_the_form_of_text_files(path, form) -> None:
    """Separator, decimal mark, header, lines before it, and what ends a row."""
    layout, _, name = path.partition("/")
    table = read(LAYOUTS / layout, name)

    assert {
        key: value for key, value in table.form.to_document().items() if value != CsvForm().to_document()[key]
    } == form


def read(folder: Path, *names: str) -> Table:
    """Read the beginning of one file."""
    return heads(folder, *names).tables[0]


def heads(folder: Path, *names: str) -> tables.Heads:
    """Read the beginnings of files."""
    with open_tree(folder, folder.name) as tree:
        return tables.read(tree, names or tree.paths, folder.name)


FORMS = {
    "comments": ("# made by x\n" + draft_files.plain(), {"comment": "#"}),
    "texts only": ("file,subject,label\na,s1,walk\nb,s2,walk\n", {}),
    "texts without a header": ("alpha,beta\ngamma,delta\n", {"header": False}),
    "one row": ("1.5;2.5\n", {"separator": ";", "header": False}),
    "lines before a table": ("Report of today\n\n" + draft_files.plain(), {"skip": 2}),
    "an empty cell at the end of rows": (draft_files.plain().replace("\n", ",\n").replace("az,\n", "az\n", 1), {}),
    "bars": (draft_files.plain().replace(",", "|"), {"separator": "|"}),
}


@pytest.mark.parametrize(("text", "form"), FORMS.values(), ids=FORMS)
def test_other_forms(tmp_path, text, form) -> None:
    """Of files that people make themselves."""
    draft_files.write(tmp_path, "a.csv", text)
    found = read(tmp_path, "a.csv").form.to_document()

    assert {key: value for key, value in found.items() if value != CsvForm().to_document()[key]} == form


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# only a comment\n", "time,x,y,z\n", "a\nb,c\nd\ne,f\n", f'"{"x" * 200_000}"\n' * 3]
)
def test_files_that_are_not_tables(tmp_path, text) -> None:
    """Empty, comments, a header alone, or rows of different lengths."""
    draft_files.write(tmp_path, "a.csv", text)

    assert all(table.rows < 2 for table in heads(tmp_path).tables)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"t,a\n1,2\n3,4\n", "utf-8"),
        (b"\xef\xbb\xbft,a\n1,2\n3,4\n", "utf-8"),
        ("t,a (m/s²)\n1,2\n3,4\n".encode("latin-1"), "latin-1"),
        ("t,a\n1,2\n3,4\n".encode("utf-16"), "utf-16"),
        ("t,a\n1,2\n3,4\n".encode("utf-16-le"), "utf-16"),
    ],
)
def test_encodings(tmp_path, data, encoding) -> None:
    """By the byte order mark, or by the bytes."""
    (tmp_path / "a.csv").write_bytes(data)
    table = read(tmp_path, "a.csv")

    assert (table.form.encoding, table.names[0], table.rows) == (encoding, "t", 2)


def test_a_binary_file_is_not_a_table(tmp_path) -> None:
    """It has NUL bytes, and is not UTF-16."""
    (tmp_path / "a.dat").write_bytes(bytes(range(256)) * 10)

    assert heads(tmp_path).not_tables == ("a.dat",)


def test_a_text_with_nul_is_not_a_table(tmp_path) -> None:
    """In an encoding of two bytes, too."""
    (tmp_path / "a.csv").write_bytes("t,a\n1,2\n\0,4\n".encode("utf-16"))

    assert heads(tmp_path).not_tables == ("a.csv",)


def test_a_cell_that_is_too_long(tmp_path) -> None:
    """For the csv module."""
    assert dialect.cells('"' + "x" * 200_000, ",")[0].startswith('"x')


def test_a_separator_that_clevercsv_does_not_find() -> None:
    """One column of one text."""
    found = dialect.detect(["x"])

    assert found is not None
    assert found.separator == ","


def test_files_are_chosen_of_every_shape() -> None:
    """A few of many, and one of each rare shape."""
    paths = [f"s{n}/walk_{n}.csv" for n in range(1000)] + ["notes.txt", "s1/extra/Gyroscope.csv"]
    chosen = tables.choose(paths, 10)

    assert len(chosen) == 10
    assert {"notes.txt", "s1/extra/Gyroscope.csv", "s0/walk_0.csv", "s999/walk_999.csv"} <= set(chosen)


# Clocks


def clock_of(folder: Path, header: str, rows: list[tuple[object, ...]], separator: str = ";", **settings: Any) -> Any:
    """Write one table, and find its clock."""
    draft_files.write(folder, "a.csv", draft_files.table(header, rows, separator))
    table = read(folder, "a.csv")
    return clock.find([table], set(), lambda each: [np.arange(each.rows)], **settings)


def stamps(form: str, count: int = 40, rate: float = 50.0) -> list[tuple[object, ...]]:
    """Rows of a stamp in some form, and three numbers."""
    from datetime import UTC, datetime, timedelta

    begin = datetime(2024, 5, 27, 8, 59, 59, 500_000, tzinfo=UTC)
    moments = [begin + timedelta(seconds=n / rate) for n in range(count)]
    texts = [m.strftime(form).replace("MMM", f"{m.microsecond // 1000:03d}") for m in moments]
    return [(text, n % 7 * 0.1, 0.5, n * 0.25) for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("form", "unit"),
    [
        ("%Y-%m-%d %H:%M:%S.%f", "iso8601"),
        ("%Y-%m-%dT%H:%M:%S.%fZ", "iso8601"),
        ("%Y-%m-%d %H:%M:%S:MMM", "strptime"),
        ("%Y-%m-%dT%H.%M.%S.%f", "strptime"),
        ("%d.%m.%Y %H:%M:%S.%f", "strptime"),
        ("%d/%m/%Y %H:%M:%S.%f", "strptime"),
        ("%m/%d/%Y %H:%M:%S.%f", "strptime"),
        ("%H:%M:%S:MMM", "time-of-day"),
        ("%H:%M:%S.%f", "time-of-day"),
    ],
)
def test_dates(tmp_path, form, unit) -> None:
    """In the forms of the vocabulary."""
    found = clock_of(tmp_path, "when;x;y;z", stamps(form))

    assert (found.time.unit, found.rate_hz, found.rule) == (unit, 50, "strict")


def test_a_date_with_a_column_of_milliseconds(tmp_path) -> None:
    """The column wraps every second, so it is not the time itself."""
    rows = [(text, int(str(text)[-3:]), x, y, z) for text, x, y, z in stamps("%Y-%m-%d %H:%M:%S MMM")]
    found = clock_of(tmp_path, "when;ms;x;y;z", [(str(t)[:19], *others) for t, *others in rows])

    assert found.time.plus is not None
    assert (found.time.plus.column, found.rate_hz) == (2, 50)


@pytest.mark.parametrize(
    ("factor", "offset", "name", "unit", "rate"),
    [
        (1, 0, "t", "s", 50),
        (1, 1.7e9, "t", "s", 50),
        (1e3, 0, "t", "ms", 50),
        (1e3, 1.7e12, "t", "ms", 50),
        (1e6, 0, "t", "us", 50),
        (1e9, 1.7e18, "t", "ns", 50),
        (1e3, 0, "time (ms)", "ms", 50),
        (1 / 86400, 45000, "t", "excel", 50),
    ],
)
def test_numbers_of_any_unit(tmp_path, factor, offset, name, unit, rate) -> None:
    """By the steps, which are those of a sensor in one unit only."""
    values = [n / 50 * factor + offset for n in range(60)]
    rows = [(f"{v:.9f}" if unit in ("s", "excel") else round(v), 0.1 * (n % 5)) for n, v in enumerate(values)]
    found = clock_of(tmp_path, f"{name};x", rows)

    assert (found.time.unit, found.rate_hz) == (unit, pytest.approx(rate, rel=0.05))


def test_packets_share_a_stamp(tmp_path) -> None:
    """Their rows are counted for the rate."""
    found = clock_of(tmp_path, "t;x", [(n // 3 * 30, n % 7) for n in range(120)])

    assert (found.rate_hz, "3 rows share each stamp" in found.why_rate) == (100, True)


RULES = {
    "strict": list(range(40)),
    "sort": [*range(20), 21, 20, *range(22, 40)],
    "restart": [*range(200, 220), *range(20)],
    "drop": [*range(100, 120), 0, *range(121, 140)],
}


@pytest.mark.parametrize(("rule", "order"), RULES.items(), ids=RULES)
def test_what_to_do_where_the_time_falls(tmp_path, rule, order) -> None:
    """Rows out of order, a new recording, or a stamp that is far off."""
    found = clock_of(tmp_path, "t;x", [(f"{n * 0.02:.2f}", n % 7) for n in order])

    assert (found.rule, bool(found.why_rule)) == (rule, rule != "strict")


@pytest.mark.parametrize(
    "rows",
    [
        [(n, n % 3) for n in range(50)],  # numbers its rows
        [("a", n % 3) for n in range(50)],
        [(1, n % 3) for n in range(50)],
        [(n * 1e7 if n % 2 else n, n % 3) for n in range(50)],  # falls with every second row
        [(n * 10.0**6, n % 3) for n in range(5)],  # too few
        [(f"{n * 1e-4:.4f}", n % 3) for n in range(50)],  # 10 kHz, or more in other units
    ],
)
def test_columns_that_are_not_a_time(tmp_path, rows) -> None:
    """Counters, constants, and numbers that fall."""
    assert clock_of(tmp_path, "row;x", rows) is None


def test_dates_are_better_where_annotations_have_them(tmp_path) -> None:
    """Else numbers are better: no zone is in doubt."""
    rows = [(n * 20, text, x) for n, (text, x, *_) in enumerate(stamps("%Y-%m-%d %H:%M:%S.%f", 80))]

    assert clock_of(tmp_path, "ms;when;x", rows).time.column == 1
    assert clock_of(tmp_path, "ms;when;x", rows, dates=True).time.column == 2


@pytest.mark.parametrize(("rate", "nominal"), [(49.7, 50), (99.4, 100), (31.1, 31.25), (73.0, 75), (5432.1, 5430.0)])
def test_nominal_rates(rate, nominal) -> None:
    """The next rate that sensors are set to, or three digits."""
    assert clock.nominal(rate) == nominal


# Units by values


@pytest.mark.parametrize(("one", "unit"), [(G, "m/s2"), (1.0, "g"), (1000.0, "mg")])
@pytest.mark.parametrize("moving", [True, False])
def test_gravity_tells_the_unit(one, unit, moving) -> None:
    """By its norm in the quietest seconds, also where the device never rests."""
    verdict = norms.judge(norms.rest([draft_files.motion(one=one, moving=moving)[1]]))

    assert (verdict.unit, verdict.gravity) == (unit, "included")


@pytest.mark.parametrize(("stated", "one"), [("m/s2", G), ("g", 1.0), (None, 1.0)])
def test_gravity_was_removed(stated, one) -> None:
    """Its norm at rest is nothing; without a stated unit, it is little against the motion."""
    moving, resting = (
        draft_files.motion(one=one, moving=moves)[1] - one * np.array([0.0, 0.6, 0.8]) for moves in (True, False)
    )
    verdict = norms.judge(norms.rest([moving, resting]), stated)

    assert (verdict.unit, verdict.gravity) == (stated, "removed")


@given(st.sampled_from([*sensors.FACTORS["acceleration"]]), st.booleans(), st.floats(0.8, 1.2))
def test_what_a_draft_says_of_gravity_data_check_confirms(unit, stated, norm) -> None:
    """Where a draft says that gravity is included, `data check` finds no other unit and no other norm."""
    values = np.full((50, 3), norm * (sensors.one_g(unit) or 0.0) / np.sqrt(3))
    verdict = norms.judge(norms.rest([values]), unit if stated else None)
    assume(verdict.gravity == "included")

    (sensor,) = sensors.sensors_of([Channel(name=f"acc_{axis}", unit=str(verdict.unit)) for axis in "xyz"])
    assert physics._verdict(values * sensor.factor / G, sensor).gravity == "included"


def test_a_stated_unit_is_tried_first() -> None:
    """1 g is 981 cm/s²: its norm is nearly that of 1,000 mg."""
    resting = norms.rest([draft_files.motion(one=100 * G, moving=False)[1]])

    assert [norms.judge(resting, stated).unit for stated in ("cm/s2", None)] == ["cm/s2", "mg"]


def test_a_norm_that_is_neither() -> None:
    """Raw counts, for example."""
    assert norms.judge(norms.rest([draft_files.motion(one=16384.0)[1]])).unit is None


def test_no_values() -> None:
    """All are missing."""
    assert norms.judge(norms.rest([np.full((10, 3), np.nan)]), "g").unit == "g"


@pytest.mark.parametrize(("factor", "moves", "unit"), [(57.3, True, "deg/s"), (1.0, True, "rad/s"), (1.0, False, None)])
def test_the_unit_of_a_gyroscope(factor, moves, unit) -> None:
    """Degrees exceed what a gyroscope measures in radians; a device at rest says nothing."""
    assert norms.rotation_unit([factor * draft_files.motion()[2]], moves=moves)[0] == unit


def test_a_gyroscope_without_values() -> None:
    """Says nothing."""
    assert norms.rotation_unit([], moves=True)[0] is None


# Texts


def columns_of(folder: Path, text: str) -> columns.Columns:
    """Write one table, and find the columns that name its rows."""
    draft_files.write(folder, "a.csv", text)
    return columns.find([read(folder, "a.csv")])


def test_columns_by_their_names(tmp_path) -> None:
    """Subject, session and label; a column of the time is none of them."""
    rows = [(f"s{n // 60}", n // 30 % 2, n * 20, 0.5, "walk" if n % 30 < 15 else "rest") for n in range(120)]
    found = columns_of(tmp_path, draft_files.table("participant,trial,time_ms,ax,activity", rows))

    assert (found.subject, found.session, found.label) == (0, 1, 4)


def test_columns_without_names(tmp_path) -> None:
    """Words of activities are the labels, the longer runs are the subjects."""
    rows = [(30 + n // 60, "Jogging" if n % 60 < 30 else "Sitting", n * 10**7, 0.5 + n, 0.25) for n in range(120)]
    found = columns_of(tmp_path, draft_files.table("", rows))

    assert (found.subject, found.label) == (0, 1)


def test_a_column_of_sensors(tmp_path) -> None:
    """It changes from row to row."""
    rows = [(n * 10**7, 1 if n % 2 else 4, 0.5 + n, 0.25, 0.125) for n in range(120)]

    assert columns_of(tmp_path, draft_files.table("", rows, ";")).event == 1


def test_a_label_is_no_column_of_fractions(tmp_path) -> None:
    """A column that is called so may be a probability."""
    rows = [(n, n / 7) for n in range(50)]

    assert columns_of(tmp_path, draft_files.table("t,activity", rows)).label is None


def test_a_column_that_is_empty_in_some_files(tmp_path) -> None:
    """The others say what it is."""
    for name, label in (("a.csv", ""), ("b.csv", "walk")):
        rows = [(n * 20, 0.5 + n, label) for n in range(60)]
        draft_files.write(tmp_path, name, draft_files.table("ms,ax,activity", rows))

    assert columns.find(heads(tmp_path).tables).label == 2


def test_a_text_that_is_no_time(tmp_path) -> None:
    """It has digits, and is not a date."""
    assert clock_of(tmp_path, "when;x", [(f"{n}th", n % 3) for n in range(50)]) is None


def test_one_row_has_no_rate() -> None:
    """Nothing rises."""
    assert clock._rate([np.array([1.0])], "strict")[0] == clock.nominal(0.0)


def test_names_that_differ_are_numbers(tmp_path) -> None:
    """Of a zone in a header, and of names that occur twice."""
    for name, zone in (("a.csv", "0100"), ("b.csv", "0200")):
        text = draft_files.plain(header=f"t (+{zone}),ax,ay,ay")
        draft_files.write(tmp_path, name, text)
    found = groups.make(heads(tmp_path).tables, ["a.csv", "b.csv"])[0]

    assert [found.reference(place) for place in range(4)] == [1, "ax", 3, 4]


def test_a_device_of_which_no_file_was_read_has_no_group(tmp_path) -> None:
    """Its columns are not known."""
    for name in ("watch/a.csv", "watch/b.csv"):
        draft_files.write(tmp_path, name, draft_files.plain())
    (found,) = groups.make(heads(tmp_path).tables, ["Watch/a.csv", "Watch/b.csv", "watch/a.csv", "watch/b.csv"])

    assert (found.device, found.paths) == ("watch", ("watch/a.csv", "watch/b.csv"))
