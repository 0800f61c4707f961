"""A fast draw of the odd calls: `python tests/odd.py 10000` runs as many as one likes."""

import odd


def test_odd_calls_end_in_a_sentence_and_leave_nothing_behind():
    ends, failures = odd.many(60)
    print(f"{sum(ends.values())} cases, {len(failures)} failures; by status: {dict(ends)}")
    assert not failures, "\n".join(failures)
