"""One file on its way (protocols/tftp/transfer.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocols.contract.addresses import Side
from protocols.contract.effects import Close, Note, Send
from protocols.tftp.transfer import MARGIN_BYTES, MAX_TIMES, UNHEARD_SECONDS, Transfer
from protocols.tftp.wire import Request

SERVER, CLIENT = Side.SERVER, Side.CLIENT


def reading(most_bytes: int | None = None, **options: bytes) -> Transfer:
    return Transfer(Request(True, b"f", b"octet", tuple(options.items())), SERVER, most_bytes, 0.0)


def writing(most_bytes: int | None = None, **options: bytes) -> Transfer:
    return Transfer(Request(False, b"f", b"octet", tuple(options.items())), SERVER, most_bytes, 0.0)


def data(number: int, size: int) -> bytes:
    return b"\0\3" + number.to_bytes(2, "big") + bytes(size)


def ack(number: int) -> bytes:
    return b"\0\4" + number.to_bytes(2, "big")


def block(number: int, size: int) -> list[tuple[Side, bytes]]:
    """A block that the server sends, and that is acknowledged."""
    return [(SERVER, data(number, size)), (CLIENT, ack(number))]


def told(transfer: Transfer, *packets: tuple[Side, bytes]) -> dict[str, Any]:
    """The line of the log, of which there is one. Every packet goes on."""
    notes = []
    for side, packet in packets:
        sent, *more = transfer.receive(side, packet, 1.0)
        assert sent == Send(side.other, packet)
        notes += more
    (note,) = notes
    assert isinstance(note, Note) and note.event == "tftp.transfer"
    return dict(note.facts)


def test_a_short_block_is_the_last_one_and_its_acknowledgement_the_end() -> None:
    facts = told(reading(), *block(1, 512), *block(2, 100))
    assert (facts["bytes"], facts["blocks"], facts["result"], facts["direction"]) == (612, 2, "complete", "read")


def test_a_file_of_whole_blocks_ends_with_an_empty_one() -> None:
    """TF5."""
    assert told(reading(), *block(1, 512), *block(2, 0))["bytes"] == 512


def test_when_writing_the_client_sends_and_the_server_acknowledges() -> None:
    facts = told(writing(), (SERVER, ack(0)), (CLIENT, data(1, 10)), (SERVER, ack(1)))
    assert (facts["bytes"], facts["direction"], facts["result"]) == (10, "write", "complete")


def test_a_writer_answers_an_oack_with_its_first_block() -> None:
    """TF4. What the OACK says of the size is an echo of what the writer has said."""
    oack = (SERVER, b"\0\6tsize\x0011\0")
    facts = told(writing(tsize=b"10"), oack, (CLIENT, data(1, 10)), (SERVER, ack(1)))
    assert (facts["size"], facts["result"]) == (10, "complete")


def test_the_size_of_a_block_is_the_one_that_the_server_agrees_to() -> None:
    """RFC 2348: it may answer with less, and an option that it leaves out is not in force."""
    oack = (SERVER, b"\0\6blksize\x001024\0")
    agreed = reading(blksize=b"1428")
    facts = told(
        agreed,
        oack,
        (CLIENT, ack(0)),
        *block(1, 1024),
        *block(2, 1),
    )
    assert (facts["block_bytes"], facts["bytes"]) == (1024, 1025)
    left_out = reading(blksize=b"1428")
    assert told(left_out, *block(1, 512), *block(2, 1))["bytes"] == 513


def test_what_comes_again_is_counted_once() -> None:
    facts = told(
        reading(),
        (SERVER, data(1, 512)),
        *block(1, 512),
        *block(2, 0),
    )
    assert (facts["bytes"], facts["repeated"]) == (512, 1)


def test_of_a_window_what_stands_behind_a_lost_block_is_not_counted() -> None:
    """RFC 7440 s.4: the sender goes back to the block that was lost."""
    blocks = [(SERVER, data(number, 512)) for number in (1, 3, 4, 2, 3, 4)]
    facts = told(reading(), *blocks, (CLIENT, ack(4)), *block(5, 9))
    assert (facts["bytes"], facts["blocks"], facts["repeated"]) == (4 * 512 + 9, 5, 2)


@pytest.mark.parametrize("after", [0, 1])
def test_numbers_of_blocks_wrap(after: int) -> None:
    """TF6: to 0 or to 1, by implementation."""
    transfer = reading()
    for number in range(1, 65536):
        transfer.receive(SERVER, data(number, 512), 0.0)
    facts = told(transfer, (SERVER, data(after, 512)), (SERVER, data(after + 1, 3)), (CLIENT, ack(after + 1)))
    assert (facts["blocks"], facts["bytes"]) == (65537, 65536 * 512 + 3)


@pytest.mark.parametrize("side", [SERVER, CLIENT])
def test_an_error_of_either_side_is_the_end(side: Side) -> None:
    assert told(reading(), (side, b"\0\5\0\1File not found\0"))["result"] == "error 1 File not found"


def test_after_the_end_packets_pass_and_mean_nothing_for_some_seconds() -> None:
    """TF16: the last ACK may be lost, and asked for once more."""
    transfer = reading()
    told(transfer, *block(1, 0))
    assert transfer.deadline() == 7.0
    assert transfer.receive(SERVER, data(1, 0), 2.0) == (Send(CLIENT, data(1, 0)),)
    assert transfer.deadline() == 7.0
    assert transfer.tick(7.0) == (Close("finished"),)


def test_a_silent_transfer_is_given_up() -> None:
    transfer = reading()
    transfer.receive(SERVER, data(1, 512), 4.0)
    transfer.receive(CLIENT, ack(1), 5.0)
    assert transfer.deadline() == 35.0
    note, close = transfer.tick(35.0)
    assert isinstance(note, Note) and note.facts["result"] == "timeout"
    assert close == Close("timeout")


def test_who_has_agreed_on_a_long_time_is_waited_for() -> None:
    """TF17."""
    transfer = reading(timeout=b"255")
    transfer.receive(SERVER, b"\0\6timeout\x00255\0", 0.0)
    transfer.receive(CLIENT, ack(0), 0.0)
    assert transfer.deadline() == 4 * 255.0


def test_a_size_that_was_told_and_not_moved_is_noted() -> None:
    transfer = reading(tsize=b"0")
    facts = told(transfer, (SERVER, b"\0\6tsize\x00100\0"), (CLIENT, ack(0)), *block(1, 99))
    assert facts["size_mismatch"] is True


def test_more_than_may_be_moved_ends_with_an_error_at_both_ends() -> None:
    transfer = reading(most_bytes=600)
    transfer.receive(SERVER, data(1, 512), 0.0)
    effects = transfer.receive(SERVER, data(2, 512), 0.0)
    sent = {effect.to: effect.data for effect in effects if isinstance(effect, Send)}
    assert sent == dict.fromkeys(Side, b"\0\5\0\3file too long\0")
    assert effects[-1] == Close("refused")


def test_a_size_that_is_told_in_advance_is_judged_in_advance() -> None:
    transfer = writing(most_bytes=600, tsize=b"601")
    assert transfer.receive(SERVER, ack(0), 0.0)[-1] == Close("refused")


def test_as_much_again_as_is_repeated_is_bounded_too() -> None:
    """Two that work together would else move what they like in blocks that do not count."""
    transfer = reading(most_bytes=512)
    most = (MAX_TIMES * 512 + MARGIN_BYTES) // (512 + 4)
    for _ in range(most):
        assert transfer.receive(SERVER, data(7, 512), 0.0) == (Send(CLIENT, data(7, 512)),)
    assert transfer.receive(SERVER, data(7, 512), 0.0)[-1] == Close("refused")


@pytest.mark.parametrize(
    ("begin", "side", "packet"),
    [
        (reading, CLIENT, data(1, 5)),
        (reading, SERVER, ack(0)),
        (reading, CLIENT, b"\0\6tsize\x000\0"),
        (reading, CLIENT, b"\0\1other\0octet\0"),
        (writing, SERVER, data(1, 5)),
        (writing, CLIENT, ack(1)),
        (writing, CLIENT, b"\0\3\0"),
        (writing, SERVER, b"\0\7\0\0"),
    ],
)
def test_what_an_end_may_not_send_goes_nowhere_and_is_told_once(
    begin: Callable[[], Transfer], side: Side, packet: bytes
) -> None:
    """TF23: else a client that may only read could write all the same."""
    transfer = begin()
    (note,) = transfer.receive(side, packet, 0.0)
    assert isinstance(note, Note) and note.facts["rule"] == "tftp.not_tftp"
    assert transfer.receive(side, packet, 0.0) == ()
    assert not (transfer.is_answered or transfer.is_taken_up)


def test_who_says_that_nothing_was_asked_for_has_its_error_passed_on_and_hears_no_more() -> None:
    """TF22: as its first word. Later on it is the end of a transfer that was asked for, like any other ERROR."""
    unknown = b"\0\5\0\5who are you?\0"
    forged = reading()
    forged.receive(SERVER, data(1, 512), 0.0)
    passed, note, closed = forged.receive(CLIENT, unknown, 0.1)
    assert (passed, closed) == (Send(SERVER, unknown), Close("finished"))
    assert isinstance(note, Note) and note.facts["result"] == "error 5 who are you?"
    assert forged.is_disowned and not forged.is_taken_up
    for first in (ack(1), b"\0\5\0\0I know its size now\0"):
        asked = reading()
        asked.receive(SERVER, data(1, 512), 0.0)
        asked.receive(CLIENT, first, 0.1)
        assert Close("finished") not in asked.receive(CLIENT, ack(1), 0.2)
        assert asked.is_taken_up and not asked.is_disowned


def test_a_second_error_is_the_end_at_once() -> None:
    """TF16."""
    error = b"\0\5\0\0enough\0"
    transfer = reading()
    told(transfer, (CLIENT, error))
    assert transfer.receive(SERVER, error, 2.0) == (Send(CLIENT, error), Close("finished"))


@pytest.mark.parametrize(
    ("options", "size"), [(b"blksize2\x001024\0", 1024), (b"blksize\x00600\0blksize2\x00512\0", 600)]
)
def test_a_block_may_have_been_agreed_on_by_tftpd_hpas_own_option(options: bytes, size: int) -> None:
    """TF2."""
    facts = told(reading(), (SERVER, b"\0\6" + options), (CLIENT, ack(0)), *block(1, size), *block(2, 1))
    assert facts["bytes"] == size + 1


def test_a_time_in_microseconds_is_one_too() -> None:
    """TF2."""
    transfer = reading()
    transfer.receive(SERVER, b"\0\6utimeout\x0020000000\0", 0.0)
    transfer.receive(CLIENT, ack(0), 0.0)
    assert transfer.deadline() == 80.0


def test_options_are_agreed_on_before_the_first_block_alone() -> None:
    facts = told(reading(), *block(1, 512), (SERVER, b"\0\6blksize\x00600\0"), *block(2, 512), *block(3, 1))
    assert (facts["block_bytes"], facts["bytes"]) == (512, 1025)


@pytest.mark.parametrize(
    ("agreed", "came", "counted"),
    [
        (b"windowsize\x004\0", (1, 0, 1), 2),
        (b"windowsize\x004\0rollover\x000\0", (1, 0, 1), 2),
        (b"windowsize\x004\0rollover\x001\0", (1, 2), 2),
    ],
)
def test_behind_the_last_number_of_a_window_a_block_may_be_lost(
    agreed: bytes, came: tuple[int, ...], counted: int
) -> None:
    """TF6: a 1 stands behind a 0 that was lost, unless the ends have agreed that there is none."""
    transfer = reading()
    transfer.receive(SERVER, b"\0\6" + agreed, 0.0)
    for number in range(1, 65536):
        transfer.receive(SERVER, data(number, 512), 0.0)
    facts = told(transfer, *((SERVER, data(number, 512)) for number in came), *block(came[-1] + 1, 3))
    assert (facts["blocks"], facts["repeated"]) == (65535 + counted + 1, len(came) - counted)


def test_a_multicast_group_is_noted_and_the_answer_goes_on() -> None:
    """TF21."""
    oack = b"\0\6multicast\x00239.255.0.1,1758,1\0"
    sent, note = reading().receive(SERVER, oack, 0.0)
    assert sent == Send(CLIENT, oack)
    assert isinstance(note, Note) and note.facts["rule"] == "tftp.multicast_not_followed"


def test_the_log_tells_the_size_that_was_announced() -> None:
    facts = told(writing(tsize=b"10"), (SERVER, ack(0)), (CLIENT, data(1, 10)), (SERVER, ack(1)))
    assert facts["size"] == 10 and "size_mismatch" not in facts


def test_a_text_may_have_another_size_on_its_way() -> None:
    transfer = Transfer(Request(False, b"f", b"netascii", (("tsize", b"10"),)), SERVER, None, 0.0)
    assert "size_mismatch" not in told(transfer, (CLIENT, data(1, 12)), (SERVER, ack(1)))


def test_who_has_said_nothing_to_an_answer_for_some_seconds_may_not_have_asked() -> None:
    """TF22."""
    transfer = reading()
    transfer.receive(SERVER, data(1, 512), 1.0)
    assert transfer.is_unheard and transfer.deadline() == 1.0 + UNHEARD_SECONDS
    assert transfer.tick(1.0 + UNHEARD_SECONDS) == ()
    assert not transfer.is_unheard and transfer.deadline() == 31.0
    heard = reading()
    heard.receive(SERVER, data(1, 512), 1.0)
    heard.receive(CLIENT, ack(1), 2.0)
    assert not heard.is_unheard
    forged = reading()
    forged.receive(CLIENT, ack(1), 0.5)
    forged.receive(SERVER, data(1, 512), 1.0)
    assert forged.is_unheard and not forged.is_taken_up
