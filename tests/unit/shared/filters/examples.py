"""Expressions that AWS's guide and samples have, or that its rules forbid, and schemas of a group that they fit.

D: documented by AWS; O: seen in its samples; I: nobody says, chosen here.
"""

from __future__ import annotations

from shared.data.schemas import Field


def _fields(**types: str) -> dict[str, Field]:
    """``CATEGORY="label"`` is a categorical string, "text" a textual one."""
    kinds = {"label": "string", "text": "string"}
    return {
        name: Field(name=name, type=kinds.get(kind, kind), categorical=kind == "label", textual=kind == "text")
        for name, kind in types.items()
    }


SCHEMAS = {
    "INTERACTIONS": _fields(
        USER_ID="string", ITEM_ID="string", TIMESTAMP="long", EVENT_TYPE="string", EVENT_VALUE="float", DEVICE="label"
    ),
    "ITEMS": _fields(
        ITEM_ID="string",
        CATEGORY="label",
        CATEGORY_L1="label",
        CATEGORY_L2="label",
        GENRE="label",
        ARTICLE_GENRE="label",
        ALLOWED_COUNTRIES="label",
        TITLE="string",
        DESCRIPTION="text",
        PRICE="float",
        YEAR="int",
        DOWNLOAD_COUNT="long",
        CREATION_TIMESTAMP="long",
        IN_STOCK="boolean",
        **dict.fromkeys("ABCDEFG", "int"),
    ),
    "USERS": _fields(
        USER_ID="string", AGE="int", GENDER="label", COUNTRY="label", MEMBERSHIP="string", IS_MEMBER="boolean"
    ),
    "ACTIONS": _fields(
        ACTION_ID="string",
        VALUE="long",
        MEMBERSHIP_LEVEL="label",
        EXPIRATION_TIMESTAMP="long",
        REPEAT_FREQUENCY="long",
    ),
    "ACTION_INTERACTIONS": _fields(USER_ID="string", ACTION_ID="string", TIMESTAMP="long", EVENT_TYPE="string"),
}

ACCEPTED = {
    "D: event types that the request names": "EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ($EVENT_TYPE)",
    "D: cheaper than the seed, newer than a date": (
        "INCLUDE ItemID WHERE Items.PRICE < CurrentItem.PRICE AND Items.CREATION_TIMESTAMP > $DATE"
    ),
    "D: a genre of the seed's": (
        "INCLUDE ItemID WHERE Items.PRICE < CurrentItem.PRICE AND Items.GENRE IN CurrentItem.GENRE"
    ),
    "D: a number that the request names": "INCLUDE ItemID WHERE Items.CREATION_TIMESTAMP < $DATE",
    "D: strings that the request names": "INCLUDE ItemID WHERE Items.GENRE IN ($GENRE)",
    "D: if the user is of an age": "EXCLUDE ItemID WHERE Items.GENRE IN ($GENRE) IF CurrentUser.AGE = $AGE",
    "D: a category, or favourites": (
        "INCLUDE ItemID WHERE Items.CATEGORY IN ($CATEGORY) | "
        'INCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("favorite")'
    ),
    "D: included less excluded": (
        "INCLUDE ItemID WHERE Items.GENRE IN ($GENRE) | "
        'EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("click", "stream")'
    ),
    "D: excluded first": (
        'EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("click", "stream") | '
        "INCLUDE ItemID WHERE Items.GENRE IN ($GENRE)"
    ),
    "D: not of the second level": (
        'EXCLUDE ItemID WHERE Items.CATEGORY_L1 IN ("shoe") AND Items.CATEGORY_L2 NOT IN ("boot")'
    ),
    "D: users by their events": 'INCLUDE UserID WHERE Interactions.EVENT_TYPE IN ("click", "rating")',
    "D: users by an attribute": "EXCLUDE UserID WHERE Users.AGE < $AGE",
    "D: actions by the user's events": "INCLUDE ActionID WHERE Action_Interactions.EVENT_TYPE IN ($EVENT_TYPE)",
    "D: actions that were declined": 'EXCLUDE ActionID WHERE Action_Interactions.EVENT_TYPE IN ("NOT_TAKEN")',
    "D: a placeholder in brackets": "INCLUDE ActionID WHERE Actions.VALUE > ($VALUE)",
    "D: Action for Actions": (
        'INCLUDE ActionID WHERE Action.MEMBERSHIP_LEVEL IN ("Premium") IF CurrentUser.MEMBERSHIP = $PREMIUM'
    ),
    "O: between two placeholders": "INCLUDE ItemID WHERE Items.YEAR >= $YEAR1 AND Items.YEAR < $YEAR2",
    "O: names in any case": 'EXCLUDE ItemID WHERE INTERACTIONS.event_type IN ("Purchase")',
    "O: single quotes, small keywords": "INCLUDE ItemID WHERE Interactions.EVENT_TYPE in ('click', 'stream')",
    "O: all small": 'exclude UserId where users.country in ("usa")',
    "O: a column of several values": "INCLUDE ItemID WHERE Items.ALLOWED_COUNTRIES IN ($CONTEXT_COUNTRY)",
    "O: all that was seen": (
        "INCLUDE ItemID WHERE Items.ARTICLE_GENRE IN ($GENRELIST) AND Items.CREATION_TIMESTAMP > $CUTOFF | "
        'EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*")'
    ),
    "D: or": 'INCLUDE ItemID WHERE Items.CATEGORY IN ("clothing") OR Items.CREATION_TIMESTAMP > $DATE',
    "D: unequal": "EXCLUDE ItemID WHERE Items.PRICE != 0",
    "D: if this and that": (
        'INCLUDE ItemID WHERE Items.CATEGORY IN ("a") IF CurrentUser.AGE > 18 AND CurrentUser.GENDER IN ("F")'
    ),
    "I: one field three times": "INCLUDE ItemID WHERE Items.PRICE > 1 AND Items.PRICE < 9.5 AND Items.PRICE != 5",
    "D: four expressions": (
        'INCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("click") | INCLUDE ItemID WHERE Items.CATEGORY IN ("a") | '
        'EXCLUDE ItemID WHERE Items.PRICE > 10 | EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("purchase")'
    ),
    "I: white space anywhere": '  INCLUDE   ItemID\n WHERE Items.CATEGORY IN("a","b")  ',
    "I: a star without quotes": "EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN (*)",
    "I: a string compared": "INCLUDE ItemID WHERE Items.TITLE != 'The \"Best\"'",
    "I: an id": 'EXCLUDE ItemID WHERE Items.ITEM_ID IN ("i1")',
    "I: a dollar in quotes is a string": 'EXCLUDE ItemID WHERE Items.CATEGORY IN ("$CATEGORY")',
    "I: numbers of any form": "EXCLUDE ItemID WHERE Items.PRICE > -.5 OR Items.YEAR = +2e3",
    "I: ten fields": "INCLUDE ItemID WHERE "
    + " AND ".join(f"Items.{name} = 1" for name in ("A", "B", "C", "D", "E", "F", "G", "PRICE", "YEAR"))
    + " IF CurrentUser.AGE > 0",
}

#: Expression -> a pattern of what it is refused with.
REFUSED = {
    "": r"ends where there should be INCLUDE or EXCLUDE",
    " \n ": r"ends where there should be INCLUDE or EXCLUDE",
    'ItemID WHERE Items.CATEGORY IN ("a")': r"line 1, column 1 there should be INCLUDE or EXCLUDE",
    "INCLUDE WHERE Items.PRICE > 1": r"column 15 there should be WHERE",
    "INCLUDE Item WHERE Items.PRICE > 1": r"target at line 1, column 9 must be ItemID, UserID or ActionID",
    # One dataset in an expression, and one that the target has to do with.
    'INCLUDE ItemID WHERE Items.CATEGORY IN ("a") AND Interactions.EVENT_TYPE IN ("click")': (
        r"Interactions at line 1, column 50 is another dataset .* joined by \|"
    ),
    'INCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("click") OR Items.PRICE > 10': r"Items at .* another dataset",
    'INCLUDE UserID WHERE Items.CATEGORY IN ("a")': r"column 22 must be Users or Interactions",
    "INCLUDE ItemID WHERE Users.AGE > 18": r"must be Items or Interactions",
    'INCLUDE ActionID WHERE Interactions.EVENT_TYPE IN ("a")': r"must be Actions or Action_Interactions",
    "INCLUDE ItemID WHERE Things.PRICE > 10": r"dataset at line 1, column 22 must be Items or Interactions",
    'INCLUDE ItemID WHERE Items.CATEGORY IN ("a") | INCLUDE UserID WHERE Users.AGE > 18': (
        r"target at line 1, column 56 is another"
    ),
    # IF.
    "INCLUDE ItemID WHERE CurrentUser.AGE > 18": r"CurrentUser at line 1, column 22 can only be tested behind IF",
    'INCLUDE ItemID WHERE Items.CATEGORY IN ("a") IF Items.PRICE > 10': r"column 49, behind IF, only CurrentUser",
    'INCLUDE ItemID WHERE Items.CATEGORY IN ("a") IF CurrentUser.AGE > 18 IF CurrentUser.GENDER IN ("F")': (
        r'column 70 there should be AND, or "\|", or the end'
    ),
    'INCLUDE ItemID WHERE Items.CATEGORY IN ("a") IF CurrentUser.AGE > 18 OR CurrentUser.AGE < 9': (
        r'column 70 there should be AND, or "\|", or the end'
    ),
    'IF CurrentUser.AGE > 18 INCLUDE ItemID WHERE Items.CATEGORY IN ("a")': r"column 1 there should be INCLUDE",
    "INCLUDE UserID WHERE Users.AGE > 18 IF CurrentUser.AGE > 18": r"a segment has none",
    "INCLUDE ItemID WHERE Items.PRICE > 1 IF CurrentUser.AGE > CurrentItem.PRICE": r"can't be compared with",
    # Fields that can't be filtered on.
    'INCLUDE ItemID WHERE Items.CATEGORY IN ("*")': r'"\*" at line 1, column 22 can only stand for any EVENT_TYPE',
    "INCLUDE ItemID WHERE Items.IN_STOCK = true": r"^Invalid Expression.*column 39 .*boolean can't be filtered on",
    'INCLUDE ItemID WHERE Items.IN_STOCK IN ("true")': r"^Invalid Expression.*Items.IN_STOCK .* of type boolean",
    'INCLUDE ItemID WHERE Items.PRICE > 1 IF CurrentUser.IS_MEMBER IN ("true")': r"Users.IS_MEMBER .* boolean",
    'INCLUDE ItemID WHERE Items.DESCRIPTION IN ("a")': r"Items.DESCRIPTION at line 1, column 22 is textual",
    "EXCLUDE ActionID WHERE Actions.EXPIRATION_TIMESTAMP < 1700000000": r"actions are left out by it anyway",
    "EXCLUDE ActionID WHERE Actions.repeat_frequency < 7": r"actions are left out by it anyway",
    'INCLUDE ItemID WHERE Interactions.DEVICE IN ("tv")': r"Interactions.DEVICE .* only EVENT_TYPE can",
    "INCLUDE ItemID WHERE Interactions.TIMESTAMP > 1": r"only EVENT_TYPE can",
    "INCLUDE ItemID WHERE Items.PRIZE > 1": r"Items.PRIZE at line 1, column 22 is no field .* CATEGORY, CATEGORY_L1",
    "INCLUDE ItemID WHERE Items.PRICE > CurrentItem.PRIZE": r"Items.PRIZE at line 1, column 22 is no field",
    # Operators and what they compare with.
    "INCLUDE ItemID WHERE Items.CATEGORY IN (a)": r"column 41 stands a word without quotes",
    'INCLUDE ItemID WHERE Items.CATEGORY LIKE "a%"': r"column 37 there should be NOT, or IN, or a comparison",
    "INCLUDE ItemID WHERE Items.PRICE < Items.YEAR": r"column 36, a field is compared with another",
    "INCLUDE ItemID WHERE Items.PRICE == 5": r"column 35 there should be .* a number",
    'INCLUDE ItemID WHERE Items.CATEGORY < "a"': r"holds strings: use IN, NOT IN, = or !=, < is for numbers",
    "INCLUDE ItemID WHERE Items.CATEGORY > $A": r"holds strings",
    "INCLUDE ItemID WHERE Items.CATEGORY = 5": r"holds strings: put its values in quotes",
    'INCLUDE ItemID WHERE Items.CATEGORY IN ("a", 5)': r"holds strings: put its values in quotes",
    'INCLUDE ItemID WHERE Items.PRICE = "5"': r"holds numbers: write its value without quotes",
    'INCLUDE ItemID WHERE Items.YEAR IN ("1999")': r"holds numbers: use = or another comparison",
    "INCLUDE ItemID WHERE Items.PRICE < CurrentItem.GENRE": r"both hold numbers or both strings",
    "INCLUDE ItemID WHERE Items.GENRE NOT IN CurrentItem.GENRE": r"CurrentItem at line 1, column 22 needs IN",
    "INCLUDE ItemID WHERE Interactions.EVENT_TYPE IN CurrentItem.GENRE": r"compared with fields of Items only",
    "EXCLUDE ItemID WHERE Items.CATEGORY NOT IN ($CATEGORY)": (
        r"^Invalid input symbol: \$CATEGORY\. Placeholders are not allowed with NOT_IN operator\."
    ),
    "INCLUDE ItemID WHERE Items.CATEGORY IN ()": r"column 41 there should be",
    "INCLUDE ItemID WHERE Items.PRICE > (5)": r"column 37 there should be a placeholder",
    f"INCLUDE ItemID WHERE Items.PRICE > ${'N' * 51}": r"at line 1, column 36 has 51 characters; at most 50",
    "INCLUDE ItemID WHERE Items.PRICE > 1e999": r"number at line 1, column 36 is too large",
    # The rest of the syntax.
    'INCLUDE ItemID WHERE (Items.PRICE > 1 OR Items.YEAR > 2) AND Items.CATEGORY IN ("a")': r"column 22 .* a dataset",
    "INCLUDE ItemID WHERE Items.PRICE > $PR ICE": r'column 40 there should be AND, or OR, or IF, or "\|", or the end',
    "INCLUDE ItemID WHERE Items.PRICE > 1; EXCLUDE ItemID WHERE Items.YEAR > 2": r"column 37 there should be AND",
    "INCLUDE ItemID WHERE Items.PRICE > 1 |": r"ends where there should be INCLUDE or EXCLUDE",
    "INCLUDE ItemID WHERE Items.PRICE >": r"ends where there should be .*a number",
    'INCLUDE ItemID\nWHERE Items.CATEGORY IN ("a': r"the quote at line 2, column 26 is not closed",
    "INCLUDE ItemID WHERE "
    + " AND ".join(f"Items.{name} = 1" for name in ("A", "B", "C", "D", "E", "F", "G", "PRICE", "YEAR"))
    + " AND Items.CREATION_TIMESTAMP > 0 AND Items.DOWNLOAD_COUNT > 0": r"has 11 distinct fields; at most 10",
}
