#!/usr/bin/env bash
# polars 2.1.0 and pyarrow 26.0.1: one Int128 column makes a Parquet file unreadable for pyarrow, the other columns too.
#
# polars writes the column (and reads it back) without a word. Guess before it was run: pyarrow refuses that one column, and
# reads the others where only these are asked for.
# Seen: the file can't be opened at all. Asking for the other column alone, for the schema, or for the metadata (the number of
# rows) fails in the same way, and the message names neither the column nor the file.
# Cast to Int64, Float64 or Decimal before writing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 pyarrow==26.0.1
cd "$folder"
cat > look.py <<'PY'
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

frame = pl.DataFrame({"a": [1.0, 2.0], "wide": pl.Series([1, 2], dtype=pl.Int128)})
frame.write_parquet("t.parquet")
print("polars reads it back:", pl.read_parquet("t.parquet").equals(frame))
for what, call in [
    ("all columns", lambda: pq.read_table("t.parquet")),
    ("column a alone", lambda: pq.read_table("t.parquet", columns=["a"])),
    ("the schema", lambda: pq.read_schema("t.parquet")),
    ("the number of rows", lambda: pq.read_metadata("t.parquet").num_rows),
]:
    try:
        call()
        print(f"pyarrow, {what}: read")
    except pa.ArrowException as error:
        print(f"pyarrow, {what}: {type(error).__name__}: {error}")
PY
venv/bin/python look.py | tee seen.txt
cat > expected.txt <<'TXT'
polars reads it back: True
pyarrow, all columns: ArrowNotImplementedError: Integers with more than 64 bits not implemented
pyarrow, column a alone: ArrowNotImplementedError: Integers with more than 64 bits not implemented
pyarrow, the schema: ArrowNotImplementedError: Integers with more than 64 bits not implemented
pyarrow, the number of rows: ArrowNotImplementedError: Integers with more than 64 bits not implemented
TXT
diff expected.txt seen.txt
echo "as described"
