"""Many pairs: of several verdicts the last one of a claim and pair, in one order."""

from predact.discussion import across
from tests.made import row


def test_they_come_claim_by_claim_and_of_several_the_last_counts():
    rows = [row("C9", "b"), row("C2", "b"), row("C2", "a=x::y"), row("C2", "c::d"), row("C2", "b", "fails")]
    found = [(each["id"], each["pair"], each["verdict"]) for each in across.in_order(rows)]
    assert found == [
        ("C2", "a=x::y", "holds"),
        ("C2", "b", "fails"),
        ("C2", "c::d", "holds"),
        ("C9", "b", "holds"),
    ]


def test_a_pair_is_one_whether_published_under_its_name_or_executed_under_all_of_it():
    (found,) = across.in_order([row(pair="mine"), row(pair="mine=a::b", verdict="fails")])
    assert found["verdict"] == "fails"


def test_pairs_do_not_mix():
    names = ["a/b::c", "a-b-c", "a/b/c", "../up", "pocket", "pocket::pocket", "x" * 300, "x" * 301]
    assert sorted(each["pair"] for each in across.in_order(row(pair=name) for name in names)) == sorted(names)
