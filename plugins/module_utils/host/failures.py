# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong in a transaction, each with a cause and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

FULL_DISK = "look at what the message says about the file system (df -h, df -i), then run again"


class TransactionError(Exception):
    """Stops a transaction. `cause` says what happened (with file or component), `advice` what a person does next."""

    def __init__(self, cause: str, advice: str = "") -> None:
        super().__init__(f"{cause}; {advice}" if advice else cause)
        self.cause, self.advice = cause, advice


class JobError(TransactionError):
    """The job itself is not valid; nothing was touched."""


class PreconditionError(TransactionError):
    """The host is not as the plan saw it; nothing was touched."""


class ValidationError(TransactionError):
    """The running binary, or TLS, refuses the new configuration; the component was not restarted."""


class HealthError(TransactionError):
    """Something did not become healthy in time."""


class HeldError(TransactionError):
    """Another run holds the host's lock or the cluster's Lease."""


class UndoError(TransactionError):
    """Something could not be put back."""


def as_error(error: Exception) -> TransactionError:
    """The same error, an OSError or another one of ours in words, or the kind of one that nobody expected: its own words may hold data."""
    if isinstance(error, TransactionError):
        return error
    if isinstance(error, OSError):
        return TransactionError(f"{error.filename or 'a system call'}: {error.strerror}", FULL_DISK)
    if type(error).__module__.startswith("ansible_collections."):
        return TransactionError(str(error), "look at what the message names, then run again")
    return TransactionError(f"an error that ninepaths does not expect ({type(error).__name__})", "report it with the transaction's journal")


def joined(errors: Sequence[TransactionError]) -> UndoError:
    """All that could not be put back, as one error."""
    advice = dict.fromkeys(error.advice for error in errors if error.advice)
    return UndoError("; ".join(error.cause for error in errors), "; ".join(advice))
