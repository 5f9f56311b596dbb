"""Lists as people have them: other programs' encodings are read, what is no text is named with its line."""

import os

import pytest

from pgpis.cli import main
from pgpis.data.deepfashion import DeepFashion
from pgpis.data.pair_table import read_table
from pgpis.data.tables import read_json, read_rows
from pgpis.errors import PgpisError

TABLE = "source;pose\nanna.jpg;walk.txt\n\nzoë.jpg;run.txt\n"
ROWS = [(2, {"source": "anna.jpg", "pose": "walk.txt"}), (4, {"source": "zoë.jpg", "pose": "run.txt"})]


def rows_of(table):
    """Return the lines of a table with their numbers."""
    columns = {column: [table.names[column][code] for code in codes] for column, codes in table.codes.items()}
    fields = zip(*columns.values(), strict=True)
    return [(line, dict(zip(columns, row, strict=True))) for line, row in zip(table.lines, fields, strict=True)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_other_programs(tmp_path, encoding):
    (tmp_path / "pairs.csv").write_bytes(TABLE.replace("\n", "\r\n").encode(encoding))
    assert rows_of(read_table(tmp_path / "pairs.csv")) == ROWS


def test_the_first_line_says_what_parts_the_columns_whatever_ends_it(tmp_path):
    table = TABLE.replace("anna.jpg", '"anna,b,c,d.jpg"')
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "pairs.csv").write_bytes(table.replace("\n", end).encode())
        assert rows_of(read_table(tmp_path / "pairs.csv"))[0] == (2, ROWS[0][1] | {"source": "anna,b,c,d.jpg"})


@pytest.mark.parametrize("separator", [",", ";", "\t", ":"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_first_line_may_name_what_parts_the_columns(separator, end, tmp_path):
    """As Excel writes and reads it."""
    table = f"sep={separator}\n" + "source,pose\na;;;.jpg,b.txt\n".replace(",", separator)
    table = table if separator != ";" else table.replace(";;;", "")
    (tmp_path / "pairs.csv").write_bytes(b"\xef\xbb\xbf" + table.replace("\n", end).encode())
    [(line, row)] = rows_of(read_table(tmp_path / "pairs.csv"))
    assert (line, row["pose"]) == (3, "b.txt")


@pytest.mark.parametrize(("column", "near"), [("note", ""), ("clothing", "clothes"), ("targt", "target")])
def test_only_columns_of_nearly_that_name_are_suggested(column, near, tmp_path):
    (tmp_path / "pairs.csv").write_text(f"source,pose,{column}\na.jpg,b.txt,c\n")
    suggested = f"; did you mean '{near}'[?]" if near else ""
    with pytest.raises(PgpisError, match=f"unknown column '{column}'{suggested}; known are"):
        read_table(tmp_path / "pairs.csv")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_empty_rows_and_columns_of_spreadsheets_are_none(separator, tmp_path):
    table = "\n,,,\n \nsource,pose,,\na.jpg,b.txt,,\n,,,\nc.jpg,d.txt\n".replace(",", separator)
    (tmp_path / "pairs.csv").write_text(table)
    rows = [(5, {"source": "a.jpg", "pose": "b.txt"}), (7, {"source": "c.jpg", "pose": "d.txt"})]
    assert rows_of(read_table(tmp_path / "pairs.csv")) == rows
    (tmp_path / "pairs.csv").write_text(table.replace("b.txt", f"b.txt{separator}more"))
    with pytest.raises(PgpisError, match=r"line 5: expected source,pose, found 'a\.jpg b\.txt more'"):
        read_table(tmp_path / "pairs.csv")


def test_a_table_may_name_a_file_whose_name_is_not_utf8(tmp_path):
    (tmp_path / "pairs.csv").write_bytes(TABLE.encode("latin-1"))
    (_, first), (_, second) = rows_of(read_table(tmp_path / "pairs.csv"))
    assert first == ROWS[0][1]
    assert os.fsencode(second["source"]) == "zoë.jpg".encode("latin-1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TABLE.encode("utf-16-le"), "line 1 holds a NUL"),
        (b"source,pose\na.jpg,\0.txt\n", "line 2 holds a NUL"),
        (b"source,pose\n" + b'"' + b"a" * 200_000, "field larger than field limit"),
        (b"", "the first line must be"),
        (b"source,pose,source\na,b,c\n", "two columns are called 'source'"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, content, message):
    (tmp_path / "pairs.csv").write_bytes(content)
    with pytest.raises(PgpisError, match=message) as error:
        read_table(tmp_path / "pairs.csv")
    assert "pairs.csv" in error.value.message


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "[" + "9" * 10_000 + "]", '[{"a": 1}', "\ufeff{", "[NaN" * 3], ids=range(5)
)
def test_what_is_no_json_is_named(tmp_path, content):
    (tmp_path / "list.json").write_text(content, encoding="utf-8")
    with pytest.raises(PgpisError, match=r"cannot read the list .*list\.json"):
        read_json(tmp_path / "list.json", "list")


def test_a_folder_and_a_file_that_is_too_large_are_named(tmp_path, monkeypatch):
    with pytest.raises(PgpisError, match="cannot read the list"):
        read_rows(tmp_path, "list")
    monkeypatch.setattr("pgpis.data.tables.LARGEST_LIST", 3)
    (tmp_path / "list.csv").write_text("a,b,c")
    with pytest.raises(PgpisError, match="too large"):
        read_rows(tmp_path / "list.csv", "list")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test.csv", b"source,to\na,b\n", "first line must be 'from,to', not 'source,to'"),
        ("test.csv", "from,to\né,b\n".encode("latin-1"), "line 2 is not UTF-8"),
        ("test_pairs_data.json", b"[" * 50_000, "nested too deeply"),
        ("test_pairs.txt", b"a\0b,c\n", "holds a NUL character"),
    ],
)
def test_lists_of_data_sets_are_read_by_the_same_rules(tmp_path, name, content, message, capsys):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PgpisError, match=message):
        DeepFashion(tmp_path, "test").setup()
    assert main(["data", "check", str(tmp_path), f"--report={tmp_path / 'problems.txt'}"]) == 1
    assert message in capsys.readouterr().out


def test_columns_that_are_read_together_are_each_combination_once(tmp_path):
    """The names of a column are kept once, also where lines leave the last columns out."""
    lines = ["source,pose,source_2", "a,x,b", "a,y,b", '"a\r\n",x', "c,x,b", "a,z"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    table = read_table(tmp_path / "pairs.csv")
    assert table.names == {"source": ["a", "c"], "pose": ["x", "y", "z"], "source_2": ["b", ""]}
    groups, codes = table.groups(["source", "source_2"])
    named = [tuple(table.names[column][position] for column, position in groups[code]) for code in codes]
    assert named == [("a", "b"), ("a", "b"), ("a", ""), ("c", "b"), ("a", "")]
    assert len(groups) == 3
    assert list(table.lines) == [2, 3, 5, 6, 7]
    assert [list(codes) for _, codes in map(table.groups, ([], ["pose"]))] == [[0] * 5, [0, 1, 0, 0, 2]]
