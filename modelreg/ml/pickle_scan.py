"""Scan a pickle before torch loads it: a few bytes can describe a value that takes forever to compare or to print.

A tuple that holds the same tuple twice, and so on for 40 steps, is a tree of 2^40 values, which torch prints in its
message about a wrong function. Nothing is unpickled here: pickletools lists the instructions and what each takes from
the stack, and the scan counts the values that every value consists of.
"""

import pickletools
from typing import IO

MOST = 10**7  # values; an optimizer's state of 1,000 tensors has about 10^5
LONGEST_NAME = 200  # characters of a class or function

_PUTS, _GETS = ("BINPUT", "LONG_BINPUT"), ("BINGET", "LONG_BINGET")
_FILLS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD")  # change the value below what they take
_CALLS = ("REDUCE", "NEWOBJ")


class _Value:
    """A value on the stack: the number of values in it, and whether it is a class or function."""

    def __init__(self, size: int, *, is_global: bool = False) -> None:
        self.size, self.is_global = size, is_global


def find_fault(pickle: IO[bytes]) -> str | None:
    """Return what is wrong with the next pickle of a file, or None. Raises ValueError if it is damaged."""
    stack: list[_Value | None] = []  # None: a mark
    memo: dict[object, _Value | None] = {}
    try:
        for opcode, argument, _ in pickletools.genops(pickle):
            if opcode.name in _PUTS:
                memo[argument] = stack[-1]
            elif opcode.name in _GETS:
                stack.append(memo[argument])
            elif fault := _step(stack, opcode, argument):
                return fault
    except LookupError as error:  # an empty stack, a mark in place of a value, an unknown number in the memo
        raise ValueError(f"{type(error).__name__} in the pickle") from error
    return None


def _step(stack: list[_Value | None], opcode: pickletools.OpcodeInfo, argument: object) -> str | None:
    """Carry out an instruction on the stack; return what is wrong with it, or None."""
    taken = _take(stack, opcode)
    if opcode.name == "GLOBAL" and len(str(argument)) > LONGEST_NAME:
        return f"names a function of more than {LONGEST_NAME} characters"
    if opcode.name in _CALLS and not taken[0].is_global:
        return "calls a value that is not a function"
    size = 1 + sum(value.size for value in taken)
    if size > MOST:
        return f"holds a value of more than {MOST:,} values"
    if opcode.name in _FILLS:
        taken[0].size = size
        stack.append(taken[0])
    elif opcode.stack_after:
        is_mark = opcode.name == "MARK"
        stack.append(None if is_mark else _Value(size, is_global=opcode.name == "GLOBAL"))
    return None


def _take(stack: list[_Value | None], opcode: pickletools.OpcodeInfo) -> list[_Value]:
    """Take from the stack what an instruction takes, the deepest value first. Raises LookupError."""
    taken: list[_Value] = []
    needed = list(opcode.stack_before)
    if pickletools.markobject in needed:
        while (value := stack.pop()) is not None:
            taken.append(value)
        needed = needed[: needed.index(pickletools.markobject)]
    for _ in needed:
        if (value := stack.pop()) is None:
            raise LookupError("a mark in place of a value")
        taken.append(value)
    return taken[::-1]
