"""What a server must know about a statement before it runs it: where its parts are, never what they mean.

The engine parses statements itself; this splits off what belongs to the protocols (FORMAT, the data of an insert, a
trailing semicolon) and refuses what only clients can do. It works on bytes, for a statement need not be UTF-8.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.lexer import Token, tokenize
from embedded_clickhouse.quoting import quote_string

# What INSERT INTO may stand behind.
_BEFORE_INSERT = frozenset({"INSERT", "WITH", "EXPLAIN"})
# What may stand behind a statement without being part of it.
_END = b" \t\r\n;"
_AFTER_FORMAT_NAME = re.compile(rb"[ \t\f]*;?[ \t\f]*\r?\n?")
# In front of these, FORMAT is the name of a column or an alias.
_NOT_BEFORE_FORMAT = frozenset(
    {"SELECT", "DISTINCT", "AS", "BY", "WHERE", "AND", "OR", "NOT", "ON", ",", ".", "=", "+", "-"}
)
_OWN_FORMAT_KEYWORDS = frozenset({"CREATE", "ALTER", "ATTACH", "SET", "USE", "DROP"})
_QUERY_ID = b"if(Settings['log_comment'] = '', query_id, Settings['log_comment'])"


@dataclass(frozen=True)
class InsertData:
    """An insert whose data comes from the client.

    :param sql: ``INSERT INTO table (columns) SETTINGS ...``, without FORMAT and data; with what stands in front of it.
    :param target: the table as it was written (``db.table``), or the table function's call.
    :param is_function: whether the target is a table function.
    :param columns: the list of columns as it was written, with its parentheses; None when all are meant.
    :param fmt: the format of the data; None when the statement does not say.
    :param data: the data that was part of the statement.
    :param structure: the argument of ``input()``, where it selects from that; None when the data is the rows.
    """

    sql: bytes
    target: bytes
    is_function: bool
    columns: bytes | None
    fmt: str | None
    data: bytes
    structure: bytes | None = None


@dataclass(frozen=True)
class Statement:
    """One statement, ready to run.

    :param sql: the statement without a FORMAT clause, a semicolon at its end, and surrounding space.
    :param keyword: what it is, see :func:`statement_keyword`.
    :param fmt: the format it wants its result in; None when it does not say.
    :param insert: set when its data comes from the client; INSERT ... SELECT from anything but ``input()`` is an
        ordinary statement.
    """

    sql: bytes
    keyword: str
    fmt: str | None = None
    insert: InsertData | None = None


def statement_keyword(sql: bytes | str) -> str:
    """What kind of statement it is: its first word in upper case, ``(``, or an empty string when there is nothing.

    INSERT also where WITH stands in front of that.
    """
    cursor = _Cursor(sql.encode(errors="replace") if isinstance(sql, str) else sql)
    keyword = cursor.peek.text
    return "INSERT" if keyword == "WITH" and _take_to_insert(cursor) else keyword


def parse_statement(sql: bytes) -> Statement:
    """Split one statement into what the engine runs and what the protocol must do.

    :raises EngineError: 62 for no statement or more than one; 358 for INTO OUTFILE; 48 for FROM INFILE, and for the
        data of an insert that cannot be told from its statement.
    """
    cursor = _Cursor(sql)
    keyword = cursor.peek.text
    if not keyword:
        raise EngineError(62, "SYNTAX_ERROR", "Syntax error: Empty query.")
    before = _take_to_insert(cursor) if keyword in _BEFORE_INSERT else None
    if before is not None:
        insert = _parse_insert(sql, cursor, before)
        if keyword == "EXPLAIN":
            if insert is not None and insert.fmt is not None:
                # FORMAT and data are those of the insert. Nobody reads the data, which need not be SQL.
                return Statement(sql[: len(sql) - len(insert.data)].strip(_END), keyword)
        elif insert is not None:
            return Statement(insert.sql, "INSERT", insert.fmt, insert)
        else:
            keyword = "INSERT"
    return _parse_whole(sql, keyword)


def _parse_whole(sql: bytes, keyword: str) -> Statement:
    """A statement that is SQL up to its end."""
    tokens, end = _cut_semicolon(list(tokenize(sql)), len(sql))
    if keyword == "KILL":
        return _kill_statement(sql[:end], tokens, keyword)
    top = _top_level(tokens)
    _refuse_files(top)
    if any(token.text == "INSERT" for token in top) and _input_call(tokens):
        # The engine would find nothing to read, and say nothing.
        message = "input() is understood in INSERT INTO ... SELECT alone, with nothing around the two."
        raise EngineError(48, "NOT_IMPLEMENTED", message)
    clause = None if keyword in _OWN_FORMAT_KEYWORDS else _find_format(top)
    if clause is None:
        return Statement(sql[:end].strip(), keyword)
    start, stop, fmt = clause[0].start, clause[1].end, sql[clause[1].start : clause[1].end]
    return Statement((sql[:start] + sql[stop:end]).strip(), keyword, fmt.decode(errors="replace"))


def creates_temporary(sql: bytes) -> bool:
    """Whether a statement makes something that lives as long as its session."""
    words = [token.text for token in itertools.islice(tokenize(sql), 4)]
    if words[1:3] == ["OR", "REPLACE"]:
        del words[1:3]
    return words[:1] in (["CREATE"], ["REPLACE"]) and words[1:2] == ["TEMPORARY"]


def selects_input(sql: bytes) -> bool:
    """Whether an insert (without FORMAT and data) is one of ``INSERT ... SELECT ... FROM input('structure')``."""
    cursor = _Cursor(sql)
    before = _take_to_insert(cursor)
    insert = None if before is None else _parse_insert(sql, cursor, before)
    return insert is not None and insert.structure is not None


def insert_from_file(sql: bytes, path: str, fmt: str) -> bytes:
    """The insert ``sql`` (without FORMAT and data) with its data in a file; SETTINGS must stand behind the file."""
    if selects_input(sql) and (call := _input_call(list(tokenize(sql)))):
        file = f"file({quote_string(path)}, {quote_string(fmt)}, ".encode()
        return sql[: call.start] + file + sql[call.argument] + b", 'none')" + sql[call.end :]
    cursor = _Cursor(sql)
    _take_to_insert(cursor)
    clauses = (
        token.start
        for before, token in pairwise(_top_level(cursor.take_all()))
        if token.text == "SETTINGS" and before.text not in {"INTO", "TABLE", "."}
    )
    cut = next(clauses, len(sql))
    source = f" FROM INFILE {quote_string(path)} COMPRESSION 'none' ".encode()
    return sql[:cut] + source + sql[cut:] + b" FORMAT " + fmt.encode()


def _top_level(tokens: list[Token]) -> list[Token]:
    """The tokens that are not inside brackets; of brackets the closing ones."""
    depth, top = 0, []
    for token in tokens:
        depth -= token.text in {")", "]", "}"}
        if depth == 0 and token.text not in {"(", "[", "{"}:
            top.append(token)
        depth += token.text in {"(", "[", "{"}
    return top


def _cut_semicolon(tokens: list[Token], end: int) -> tuple[list[Token], int]:
    for index, token in enumerate(tokens):
        if token.text == ";":
            if any(later.text != ";" for later in tokens[index:]):
                raise EngineError(62, "SYNTAX_ERROR", "Syntax error: Multi-statements are not allowed.")
            return tokens[:index], token.start
    return tokens, end


def _refuse_files(top: list[Token]) -> None:
    for first, second in itertools.pairwise(top):
        if (first.text, second.text) == ("INTO", "OUTFILE"):
            raise EngineError(
                358, "INTO_OUTFILE_NOT_ALLOWED", "INTO OUTFILE is not allowed: only a client writes files."
            )
        if (first.text, second.text) == ("FROM", "INFILE"):
            raise EngineError(48, "NOT_IMPLEMENTED", "FROM INFILE is not supported: only a client reads files.")


def _find_format(top: list[Token]) -> tuple[Token, Token] | None:
    """The words FORMAT and its name, where they are the clause at the end of a statement."""
    for index in range(len(top) - 2, 0, -1):
        word, name = top[index], top[index + 1]
        is_last = index + 2 == len(top) or top[index + 2].text == "SETTINGS"
        if word.text == "FORMAT" and name.kind == "word" and is_last:
            before = top[index - 1].text
            return None if before in _NOT_BEFORE_FORMAT else (word, name)
    return None


def _depth_change(text: str) -> int:
    """What a token does to the number of open brackets."""
    return (text in {"(", "[", "{"}) - (text in {")", "]", "}"})


def _closing_bracket(tokens: list[Token]) -> Token | None:
    """The bracket that closes the one in front of these tokens."""
    depth = 1
    for token in tokens:
        depth += _depth_change(token.text)
        if depth == 0:
            return token
    return None


class _InputCall(NamedTuple):
    start: int
    end: int
    argument: slice


def _input_call(tokens: list[Token]) -> _InputCall | None:
    """Where the call of the table function ``input`` is; None when there is none.

    :raises EngineError: 42 for one without its argument.
    """
    for index, (before, word, opening) in enumerate(zip(tokens, tokens[1:], tokens[2:], strict=False)):
        if before.text not in {"FROM", "JOIN", ","} or (word.text, opening.text) != ("INPUT", "("):
            continue
        closing = _closing_bracket(tokens[index + 3 :])
        if closing is None:
            continue
        if closing is tokens[index + 3]:
            message = "Table function 'input' requires exactly 1 argument: structure."
            raise EngineError(42, "NUMBER_OF_ARGUMENTS_DOESNT_MATCH", message)
        return _InputCall(word.start, closing.end, slice(opening.end, closing.start))
    return None


def _kill_statement(sql: bytes, tokens: list[Token], keyword: str) -> Statement:
    """KILL QUERY with ``query_id`` meaning the id that the client gave: the engine has one of its own."""
    clause = _find_format(_top_level(tokens))
    fmt = sql[clause[1].start : clause[1].end].decode(errors="replace") if clause else None
    parts, position = [], 0
    for token in tokens:
        if clause and token in clause:
            parts.append(sql[position : token.start])
            position = token.end
        elif sql[token.start : token.end].strip(b'`"').lower() == b"query_id":
            parts += [sql[position : token.start], _QUERY_ID]
            position = token.end
    return Statement(b"".join([*parts, sql[position:]]).strip(), keyword, fmt)


class _Cursor:
    """Reads tokens one by one, with the next in sight."""

    def __init__(self, sql: bytes) -> None:
        self._tokens = tokenize(sql)
        self._end = len(sql)
        self.peek = self._read()
        self.last_end = 0

    def _read(self) -> Token:
        return next(self._tokens, Token("end", self._end, self._end, ""))

    def take(self) -> Token:
        token, self.peek = self.peek, self._read()
        self.last_end = token.end
        return token

    def take_word(self, *words: str) -> bool:
        if self.peek.text in words:
            self.take()
            return True
        return False

    def take_all(self) -> list[Token]:
        """Take what is left."""
        left = []
        while self.peek.kind != "end":
            left.append(self.take())
        return left

    def skip_brackets(self) -> bool:
        """Take everything to the closing bracket; tells whether it is a query that stood in them."""
        self.take()
        is_query, depth = self.peek.text in {"SELECT", "WITH", "("}, 1
        while depth and self.peek.kind != "end":
            text = self.take().text
            depth += _depth_change(text)
        return is_query


def _take_to_insert(cursor: _Cursor) -> list[Token] | None:
    """Take INSERT and everything in front of it, up to INTO; None where no INSERT INTO stands outside of brackets.

    Nothing but a statement can begin with these two words: INTO is no name where it is not quoted, and behind a column
    called insert it would have to be INTO OUTFILE.
    """
    taken: list[Token] = []
    depth = 0
    while cursor.peek.kind != "end" and depth >= 0 and cursor.peek.text != ";":
        if depth == 0 and taken and (taken[-1].text, cursor.peek.text) == ("INSERT", "INTO"):
            return taken
        depth += _depth_change(cursor.peek.text)
        taken.append(cursor.take())
    return None


def _parse_insert(sql: bytes, cursor: _Cursor, before: list[Token]) -> InsertData | None:
    """The parts of an insert whose data comes from the client; None for INSERT ... SELECT and the like.

    :param cursor: at INTO.
    :param before: the tokens up to there.
    """
    cursor.take()
    cursor.take_word("TABLE")
    is_function = cursor.take_word("FUNCTION")
    start = cursor.peek.start
    _skip_target(cursor, is_function)
    target = sql[start : cursor.last_end]
    columns = None
    if cursor.peek.text == "(":
        start = cursor.peek.start
        if cursor.skip_brackets():
            return None
        columns = sql[start : cursor.last_end]
    if cursor.peek.text == "PARTITION":  # INSERT INTO FUNCTION ... PARTITION BY expression
        return None
    if cursor.take_word("SETTINGS"):
        _skip_settings(cursor)
    structure = None
    if cursor.peek.text in {"SELECT", "WITH", "FROM"}:
        call = _input_call(before + _take_select(cursor))
        if call is None:
            return None
        structure = sql[call.argument]
    head = sql[: cursor.last_end].strip()
    return _insert_data(sql, cursor, InsertData(head, target, is_function, columns, None, b"", structure))


def _skip_target(cursor: _Cursor, is_function: bool) -> None:
    if cursor.peek.text == "{":
        cursor.skip_brackets()
    else:
        cursor.take()
    while cursor.take_word("."):
        if cursor.peek.text == "{":
            cursor.skip_brackets()
        else:
            cursor.take()
    if is_function and cursor.peek.text == "(":
        cursor.skip_brackets()


def _skip_settings(cursor: _Cursor) -> None:
    while cursor.peek.kind in {"word", "name"} and cursor.peek.text not in {"VALUES", "FORMAT", "SELECT", "WITH"}:
        cursor.take()
        while cursor.peek.text not in {",", ";", "VALUES", "FORMAT", "SELECT", "WITH"} and cursor.peek.kind != "end":
            if cursor.peek.text in {"(", "[", "{"}:
                cursor.skip_brackets()
            else:
                cursor.take()
        cursor.take_word(",")


def _insert_data(sql: bytes, cursor: _Cursor, insert: InsertData) -> InsertData | None:
    """The insert with its format and its data, in front of which the cursor is; None where something else stands."""
    if cursor.peek.text == "FORMAT":
        cursor.take()
        # The last token that is looked at: behind it there would be data already.
        name = cursor.peek
        if name.kind != "word":
            raise EngineError(62, "SYNTAX_ERROR", "Syntax error: FORMAT must be followed by the name of a format.")
        after = _AFTER_FORMAT_NAME.match(sql, name.end)
        fmt = "Values" if name.text == "VALUES" else sql[name.start : name.end].decode("ascii")
        return replace(insert, fmt=fmt, data=sql[after.end() if after else name.end :])
    if cursor.peek.text == "VALUES":
        return replace(insert, fmt="Values", data=sql[cursor.peek.end :])
    # Nothing more but semicolons.
    return insert if all(token.text == ";" for token in cursor.take_all()) else None


def _take_select(cursor: _Cursor) -> list[Token]:
    """Take a SELECT up to its FORMAT clause, behind which there may be data, or to its end."""
    tokens: list[Token] = []
    depth = 0
    while cursor.peek.kind != "end":
        before = tokens[-1].text if tokens else "SELECT"
        text = cursor.peek.text
        if depth == 0 and (text == ";" or (text == "FORMAT" and before not in _NOT_BEFORE_FORMAT)):
            break
        depth += _depth_change(text)
        tokens.append(cursor.take())
    return tokens
