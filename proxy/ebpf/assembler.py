"""An assembler for eBPF: instructions, labels, and the bytes that the kernel loads (RFC 9669).

Most methods write one instruction each. An operand is a register exactly if it is a `Register`, and otherwise a number.
"""

from __future__ import annotations

import struct
from enum import IntEnum


class Register(IntEnum):
    """R0 has the answer of a call, R1 to R5 its arguments, which a call destroys. R6 to R9 stay. R10 is the end of the
    stack of 512 bytes."""

    R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)


Operand = Register | int

_INSTRUCTION = struct.Struct("<BBhi")
_WIDTHS = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
"""Bytes that a load or store moves -> their part of the code."""
_LOAD, _STORE_NUMBER, _STORE, _ATOMIC = 0x61, 0x62, 0x63, 0xC3
_LOAD_NUMBER, _IS_TABLE = 0x18, 1
_CALCULATE, _CALCULATE_32, _JUMP = 0x07, 0x04, 0x05
_FROM_REGISTER = 0x08
_CALL, _EXIT, _TO_BIG_ENDIAN = 0x85, 0x95, 0xDC

_CALCULATIONS = {"+": 0x00, "-": 0x10, "|": 0x40, "&": 0x50, "<<": 0x60, ">>": 0x70, "^": 0xA0, "=": 0xB0}
_CONDITIONS = {"==": 0x10, ">": 0x20, ">=": 0x30, "!=": 0x50, "<": 0xA0, "<=": 0xB0}
"""Comparisons without signs."""


class Assembler:
    """The instructions of a program so far."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int, int]] = []
        """Code, destination, source, offset and number of each instruction."""
        self._labels: dict[str, int] = {}
        self._jumps: dict[int, str] = {}
        """Which instructions jump to which label."""
        self._named = 0

    def label(self, name: str) -> None:
        """What is written next can be jumped to by this name."""
        assert name not in self._labels
        self._labels[name] = len(self._code)

    def new_label(self) -> str:
        """A name that no other label has."""
        self._named += 1
        return f"label {self._named}"

    def assemble(self) -> bytes:
        """The program as the kernel reads it."""
        for at, name in self._jumps.items():
            code, destination, source, _, number = self._code[at]
            self._code[at] = code, destination, source, self._labels[name] - at - 1, number
        return b"".join(
            _INSTRUCTION.pack(code, source << 4 | destination, offset, number)
            for code, destination, source, offset, number in self._code
        )

    # -- memory -------------------------------------------------------------------------------------------------------

    def load(self, width: int, to: Register, base: Register, offset: int) -> None:
        """Read so many bytes of memory into a register, whose upper bytes become 0."""
        self._write(_LOAD | _WIDTHS[width], to, base, offset)

    def store(self, width: int, base: Register, offset: int, value: Operand) -> None:
        """Write so many bytes of a register, or of a number, to memory."""
        if isinstance(value, Register):
            self._write(_STORE | _WIDTHS[width], base, value, offset)
        else:
            self._write(_STORE_NUMBER | _WIDTHS[width], base, 0, offset, value)

    def copy(self, to: tuple[Register, int], source: tuple[Register, int], widths: tuple[int, ...]) -> None:
        """Move what stands at one place to another one, by way of R5, in pieces of these widths, the last one first
        (why: the stack in `environment.py`)."""
        at = sum(widths)
        for width in reversed(widths):
            at -= width
            self.load(width, Register.R5, source[0], source[1] + at)
            self.store(width, to[0], to[1] + at, Register.R5)

    def add_to_memory(self, base: Register, offset: int, value: Register) -> None:
        """Add a register to eight bytes of memory, in one step for all processors."""
        self._write(_ATOMIC | _WIDTHS[8], base, value, offset)

    def table(self, to: Register, descriptor: int) -> None:
        """Put the address of a table into a register."""
        self._write(_LOAD_NUMBER, to, _IS_TABLE, 0, descriptor)
        self._write(0, 0, 0)

    # -- calculation --------------------------------------------------------------------------------------------------

    def set(self, to: Register, value: Operand) -> None:
        """Put a value into a register."""
        self.calculate(to, "=", value)

    def calculate(self, to: Register, sign: str, value: Operand) -> None:
        """Calculate with 64 bits; the result is in `to`. A number has 32 bits and a sign."""
        self._operate(_CALCULATE | _CALCULATIONS[sign], to, value)

    def calculate_32(self, to: Register, sign: str, value: Operand) -> None:
        """The same with 32 bits; the upper half of the result is 0."""
        self._operate(_CALCULATE_32 | _CALCULATIONS[sign], to, value)

    def from_network(self, register: Register) -> None:
        """Turn two bytes in network order into a number."""
        self._write(_TO_BIG_ENDIAN, register, 0, 0, 16)

    # -- flow ---------------------------------------------------------------------------------------------------------

    def jump(self, label: str) -> None:
        """Go on at the label."""
        self._jumps[len(self._code)] = label
        self._write(_JUMP, 0, 0)

    def jump_if(self, register: Register, condition: str, value: Operand, label: str) -> None:
        """Go on at the label if the condition holds."""
        self._jumps[len(self._code)] = label
        self._operate(_JUMP | _CONDITIONS[condition], register, value)

    def call(self, helper: int) -> None:
        """Call a function of the kernel."""
        self._write(_CALL, 0, 0, 0, helper)

    def exit(self) -> None:
        """End with the answer in R0."""
        self._write(_EXIT, 0, 0)

    def _operate(self, code: int, register: Register, value: Operand) -> None:
        if isinstance(value, Register):
            self._write(code | _FROM_REGISTER, register, value)
        else:
            self._write(code, register, 0, 0, value)

    def _write(self, code: int, destination: int, source: int, offset: int = 0, number: int = 0) -> None:
        self._code.append((code, destination, source, offset, number))
