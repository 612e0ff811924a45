# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong in a transaction, each with a cause and what to do about it."""

from __future__ import annotations


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
