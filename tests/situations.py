"""Situations that people bring: what datassay does, and the tests that hold it to that.

python tests/situations.py       writes the tables of docs/data-that-people-bring.md anew
"""

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "data-that-people-bring.md"

#: for each table: situation, what is done, names of tests
SITUATIONS: dict[str, list[tuple[str, str, str]]] = {
    "Columns": [
        (
            "a column numbers the rows (0 ... n-1 or 1 ... n, from 50 rows on), or is an index that pandas wrote along (`Unnamed: 0`)",
            "left out, and said; decimals are never taken for it",
            "counters_of_rows_are_left_out counters_in_large_tables_are_left_out an_index_that_pandas_wrote_along_is_no_column",
        ),
        (
            "one cell is 30 times as far from the median as all others (1e12), or -999, -9999, ... stand for gaps",
            "counts as the nearest ordinary number before columns are brought to one scale; the cell is named; `shown` has it as it came",
            "one_extreme_cell_does_not_flatten_its_column signs_for_gaps_count_as_the_nearest_number",
        ),
        (
            'an empty cell of text, with `missing="mean"`',
            "a kind of its own, `(empty)`",
            "missing_cells_of_frames wrong_labels_are_found_beside_odd_columns_and_cells",
        ),
        (
            "blanks, `-` or `None` among numbers of a CSV file; `n/a`, `#N/A`, `<NA>` anywhere",
            "missing",
            "words_for_gaps_among_numbers",
        ),
        (
            "thousands separators (`1,200`), a currency or a unit that all cells have (`12 kg`, `$5`, `3 %`)",
            "numbers; `encoding` says so. Decimal commas, several units, a cell without one: an error, or kinds",
            "amounts amounts_of_a_frame_and_of_validation_rows commas_in_decimals_are_told_from_those_in_thousands",
        ),
        (
            "yes and no in several spellings (`Yes`, `y`, `NO`, `false`)",
            "one kind for each of the two",
            "truth_values_in_several_spellings",
        ),
        (
            "dates, from 20 rows on",
            "days, and sine and cosine of the weekday, the day of the year and the hour, of those that differ",
            "dates_have_days_weekdays_seasons_and_hours gaps_among_dates",
        ),
        (
            "categories with an order (pandas, polars' Enum, Parquet's ordered dictionaries)",
            "one column: the place in their order; a value without a place in a validation row is an error. Stata's value labels are kinds",
            "they_are_their_places validation_rows_go_by_the_training_rows_order what_has_no_place_is_named files_keep_the_order",
        ),
        (
            "names, keys, ticket numbers: another word in nearly each row",
            "left out, and said; an error where there is no other column",
            "names_are_left_out_and_rare_kinds_are_one",
        ),
        (
            "several columns that can't be used",
            "one error names all of them, with the call that leaves them out",
            "all_columns_that_are_refused_are_named_at_once",
        ),
        (
            "[free text](features.md#text)",
            "words, by TF-IDF; an empty text is a text without a known word",
            "a_csv_of_texts_needs_no_option empty_long_and_foreign_texts",
        ),
        (
            "text with very many values, towns say",
            "one-hot of the 49 commonest, and one column for all others",
            "names_are_left_out_and_rare_kinds_are_one",
        ),
        (
            "text, where embeddings are valued (`features=`)",
            "shown in reports; for arrays `data.showing(sentences)`",
            "text_that_is_not_valued_is_shown the_text_behind_numbers_is_shown",
        ),
        (
            "a column of arrays, or of lists of numbers",
            "a column for each number: `v[0]`, `v[1]`; nested lists that are the only column make the rows",
            "columns_of_arrow_and_of_arrays_are_read a_column_of_lists_is_an_array",
        ),
        (
            "Arrow-backed frames, categories without an order, periods, decimals, text kept as bytes",
            "as pandas' own types",
            "columns_of_arrow_and_of_arrays_are_read what_other_tools_write_is_taken_and_saved",
        ),
        (
            "bytes that are neither images nor text; types that pyarrow can't read",
            "one sentence that names the column; once dropped, it stops nothing",
            "bytes_that_are_no_images columns_that_can_not_be_read_stop_nothing_once_they_are_dropped",
        ),
        ('`9999-12-31` for "never"', "a date like others; then an extreme cell", "dates_before_1678_and_after_2262"),
        ("thousands of columns", "read in bulk", "wide_tables_are_read_in_time"),
        ("the index of a frame", "names the rows", "the_index_of_a_frame_names_the_rows"),
        (
            "features times 1,000",
            "the same order by CRAIG, LAVA, KNN-Shapley and LossVal",
            "features_times_a_thousand_leave_the_order",
        ),
    ],
    "Labels and ids": [
        (
            "`nan` or `NA` among labels that are numbers",
            "missing; among text it is a label, as it is written",
            "labels_of_csv_are_looked_at",
        ),
        (
            "labels with commas between digits, `0,5`, `1,200`, `1,2`",
            "an error: amounts need a decimal point, several labels a row are not supported",
            "labels_of_csv_are_looked_at",
        ),
        (
            "`yes`, `Yes`, `YES `",
            "classes as they are written; a note says that they differ by capitals or blanks alone",
            "classes_that_differ_by_capitals_or_blanks_are_said",
        ),
        (
            "many whole numbers, or grades from 1 to 10",
            'classes; a note names `task="regression"`',
            "whole_numbers_as_labels_are_said_to_be_classes",
        ),
        (
            "a class -1 beside 0, 1, ...",
            'a class; a note says that it often stands for "no label"',
            "whole_numbers_as_labels_are_said_to_be_classes",
        ),
        (
            "rows that are equal, or nearly so, with different labels",
            "first in the report, for all kinds of rows; where equal rows are usual (tables of a few kinds) they say nothing",
            "the_report_lists_them_first where_equal_rows_are_usual_they_say_nothing",
        ),
        (
            "rows without a label",
            'one error counts and names them; `missing="drop"` leaves them out',
            "odd_rows_are_all_named_and_can_be_left_out",
        ),
        (
            "a rare class (frauds)",
            "no row of it is flagged for its rarity alone; `audit --kind balanced` plants errors that leave it as rare",
            "rows_of_a_rare_class_are_not_flagged_for_its_rarity balanced_errors_keep_the_size_of_every_class",
        ),
        (
            "labels or ids that a file of values can't hold (sets, complex numbers, objects)",
            "an error before anything is calculated",
            "what_can_not_be_saved_is_refused_at_the_door what_passes_the_door_can_be_saved",
        ),
        (
            "a class of one row, often a slip of the very kind that is sought",
            "the same; the note calls it a suspect",
            "odd_rows_are_all_named_and_can_be_left_out",
        ),
        (
            "decimals (databases), durations, bytes, UUIDs",
            "whole numbers or decimals; days; text",
            "labels_and_ids_are_of_kinds_that_can_be_saved what_other_tools_write_is_taken_and_saved",
        ),
        (
            "ids beyond 2^53 that came as decimals and fell together",
            "the error says so",
            "labels_and_ids_are_of_kinds_that_can_be_saved",
        ),
        ("an index that pandas kept in a Parquet file", "can be named as `id`", "an_index_that_pandas_kept_can_be_the_id"),
        (
            "Parquet written by Hugging Face",
            'classes by their names; -1 is "no label"',
            "parquet_that_hugging_face_wrote_has_its_names",
        ),
    ],
    "Files and folders": [
        ("`train/` and `val/` as the only sub-folders", "an error with the call that reads them", "splits_are_no_classes"),
        ("hidden files and folders at any depth", "skipped", "hidden_files_at_any_depth_are_no_rows"),
        (
            "images of more than 8 bits, or of decimals",
            "grey levels by the depth that all of them have",
            "deep_images_keep_their_levels",
        ),
        (
            "broken images",
            'one error counts and names them; `missing="drop"` leaves them out',
            "broken_images_are_all_named_and_can_be_left_out images_that_are_broken",
        ),
        (
            "images of several sizes",
            "brought to squares of the middle of their shorter sides, at most 64 pixels, with a note; validation images follow",
            "images_of_several_sizes_are_brought_to_the_middle_of_their_shorter_sides "
            "validation_images_are_of_the_size_of_training_images_of_one_size",
        ),
        (
            "CSV with `sep=;` above the header, separators at the ends of lines, several columns without a name",
            "read",
            "odd_first_lines_of_csv",
        ),
        ("CSV whose first line holds numbers", "an error: it would be lost as column names", "odd_first_lines_of_csv"),
        ("CSV as `.gz`, `.zst` or `.bz2`", "read", "compressed_csv"),
        (
            "JSON lines or a list in JSON, of Hugging Face, doccano, Prodigy, Label Studio",
            "read; a label in a list of one is this one; rows that Prodigy did not accept have none; several labels a row are an error",
            "json_lines",
        ),
        ("Feather, Stata (value labels)", "read", "feather_stata_and_what_is_read_elsewhere"),
        (
            "SVMlight (by its name or its first line)",
            "read, sparse; the columns of rows and validation rows are numbered from one base",
            "svmlight svmlight_rows_and_validation_rows_are_numbered_from_one_base",
        ),
        (
            "ARFF, also sparse, with text or dates",
            "read; nominal attributes are kinds, whatever their names",
            "arff sparse_arff_and_dates",
        ),
        (
            "Excel (`.xlsx`, with `pip install 'datassay[excel]'`)",
            "the only sheet with rows is read; several are an error that names them; `.xls` and `.ods`: an error",
            "excel excel_that_can_not_be_read",
        ),
        (
            "a NumPy file of text as objects",
            "an error that says `y.astype(str)`",
            "numpy_files_of_text_as_objects_say_what_to_do",
        ),
        ("a bad cell in the validation file", "reported under that file", "bad_cells_of_validation_rows_go_by_their_file"),
    ],
    "Models and runs": [
        (
            "recurrent networks, and others for which `vmap` has no rule",
            "gradients row by row",
            "recurrent_networks rows_one_by_one_where_vmap_can_not a_network_that_branches_on_its_rows_goes_one_by_one",
        ),
        (
            "a forward that gives a tuple, a dictionary or an object with `.logits`",
            "the logits are taken, or one sentence",
            "the_logits_are_found_in_what_a_forward_gives an_output_in_which_nothing_looks_like_logits_is_one_sentence",
        ),
        ("a class in place of a function", "stands for what it makes", "a_class_stands_for_what_it_makes"),
        (
            "XGBoost and others that want codes; predictions of shape (n, 1), as of CatBoost",
            "get codes 0 to k - 1; one column is predictions",
            "codes_for_a_classifier_that_wants_codes predictions_in_one_column_are_predictions",
        ),
        ("a pipeline that names columns", "gets the frame", "a_pipeline_that_names_columns_gets_the_frame"),
        ("a model that raises", "its own exception, with the subset", "a_models_own_exception_is_shown_with_the_subset"),
        (
            "hundreds of classes of few rows",
            "the default model is chosen on enough rows of each, in about scikit-learn's time",
            "a_hundred_classes_cost_little_and_are_told_apart_as_well_as_by_scikit_learn",
        ),
        (
            "Dask gives a task up, since its workers die",
            "an error that names the subsets and says where to look",
            "a_given_up_training_names_its_subsets_and_says_where_to_look",
        ),
        (
            "probabilities of a class that no row has",
            "taken: it may be the right one",
            "a_class_that_no_row_has_may_be_the_right_one",
        ),
        (
            "a third of what decides the label is in no column (exam grades)",
            "bounds that hold the number; no promise on the first suspects",
            "what_columns_can_not_explain_is_not_counted_as_wrong an_audit_does_not_promise_what_it_can_not_know",
        ),
        (
            "far more columns than rows; few errors among very many rows",
            "an audit that hardly finds its planted errors promises nothing",
            "an_audit_of_far_more_columns_than_rows_does_not_promise an_audit_of_a_sample_does_not_promise_more_than_it_can_tell",
        ),
        ("five messy files in one run each", "valued, with notes", "a_messy_file_is_valued_in_one_run"),
        (
            "a plan for rows that were read with options",
            "proposes the command with them",
            "the_command_that_a_plan_proposes_can_be_run",
        ),
    ],
}


def tables() -> str:
    """The page from its first heading of a table on."""
    parts = []
    for group, rows in SITUATIONS.items():
        lines = [f"| {situation} | {done} |" for situation, done, _ in rows]
        parts.append("\n".join([f"## {group}", "", "| situation | what datassay does |", "| --- | --- |", *lines, ""]))
    return "\n".join(parts)


def head(page: str) -> str:
    """What stands above the tables."""
    return page[: page.index(f"## {next(iter(SITUATIONS))}\n")]


if __name__ == "__main__":
    PAGE.write_text(head(PAGE.read_text()) + tables())
