"""A small client of libpq through ctypes: the benchmark needs no Python package."""
import ctypes
import ctypes.util

from say import Failure

_lib = ctypes.CDLL(ctypes.util.find_library("pq") or "libpq.so.5")
for _name, _result, _args in (
        ("PQconnectdb", ctypes.c_void_p, [ctypes.c_char_p]), ("PQstatus", ctypes.c_int, [ctypes.c_void_p]),
        ("PQerrorMessage", ctypes.c_char_p, [ctypes.c_void_p]), ("PQfinish", None, [ctypes.c_void_p]),
        ("PQexec", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]), ("PQresultStatus", ctypes.c_int, [ctypes.c_void_p]),
        ("PQresultErrorMessage", ctypes.c_char_p, [ctypes.c_void_p]), ("PQntuples", ctypes.c_int, [ctypes.c_void_p]),
        ("PQnfields", ctypes.c_int, [ctypes.c_void_p]), ("PQgetisnull", ctypes.c_int, [ctypes.c_void_p] + [ctypes.c_int] * 2),
        ("PQgetvalue", ctypes.c_char_p, [ctypes.c_void_p] + [ctypes.c_int] * 2), ("PQclear", None, [ctypes.c_void_p]),
        ("PQbackendPID", ctypes.c_int, [ctypes.c_void_p])):
    _function = getattr(_lib, _name)
    _function.restype, _function.argtypes = _result, _args


class Conn:
    """A connection. Values come back as str or None."""

    def __init__(self, dsn):
        self.handle = _lib.PQconnectdb((dsn + " application_name=bench options='-c client_min_messages=warning'").encode())
        if _lib.PQstatus(self.handle) != 0:
            message = _lib.PQerrorMessage(self.handle).decode()
            self.close()
            raise Failure(message)
        self.pid = _lib.PQbackendPID(self.handle)

    def rows(self, sql):
        result = _lib.PQexec(self.handle, sql.encode())
        try:
            if _lib.PQresultStatus(result) not in (1, 2):
                raise Failure(f"{sql[:200]}: {_lib.PQresultErrorMessage(result).decode().strip()}")
            return [[None if _lib.PQgetisnull(result, r, c) else _lib.PQgetvalue(result, r, c).decode()
                     for c in range(_lib.PQnfields(result))] for r in range(_lib.PQntuples(result))]
        finally:
            _lib.PQclear(result)

    def one(self, sql):
        rows = self.rows(sql)
        return rows[0][0] if rows else None

    def close(self):
        if self.handle:
            _lib.PQfinish(self.handle)
            self.handle = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def literal(value):
    """A string as an SQL literal (standard_conforming_strings is on)."""
    return "'" + str(value).replace("'", "''") + "'"
