"""Failures of Cloud Storage, as errors with a cause and a remedy."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.errors import DataError, LocationError, RestartError, StorageError, TrainerError
from trainer.storage.addresses import Address

RETRY_SECONDS = 120.0  # an answer that may become better (503, a cut connection) is asked for again so long

MACHINE = Path("/sys/class/dmi/id/product_name")  # "Google Compute Engine" on Google's machines


class ChecksumError(Exception):
    """The bytes that arrived, or were written, have another CRC32C than those that were sent."""


@contextlib.contextmanager
def translate_errors(address: Address, *, writing: bool = False) -> Iterator[None]:
    """Makes errors of Google's libraries ours.

    Raises:
      LocationError: no credentials, no permission, no such bucket.
      DataError: no such object, or a checksum that stays wrong.
      RestartError: the service did not answer for `RETRY_SECONDS`.
      StorageError: it refused for another reason.
    """
    import requests
    import urllib3
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud.storage.exceptions import DataCorruption

    try:
        yield
    except TrainerError:
        raise
    except (ChecksumError, DataCorruption) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{address} has another checksum each time it is {'written' if writing else 'read'} ({reason}); copy it "
            "anew"
        ) from None
    except (
        auth.TransportError,
        api.ServerError,
        api.TooManyRequests,
        requests.RequestException,
        urllib3.exceptions.HTTPError,
    ) as error:
        raise _no_answer(address, error) from None
    except ConnectionError as error:
        raise _no_answer(address, error) from None
    except auth.GoogleAuthError as error:
        if error.retryable or metadata_may_come():
            raise _no_answer(address, error) from None
        raise LocationError(str(address), f"needs credentials ({_reason(error)})", _log_in()) from None
    except api.Unauthorized as error:
        raise LocationError(str(address), f"refuses the credentials ({_reason(error)})", _log_in()) from None
    except api.Forbidden as error:
        role = "roles/storage.objectUser" if writing else "roles/storage.objectViewer"
        raise LocationError(
            str(address),
            f"may not be {'written' if writing else 'read'} ({_reason(error)})",
            f"grant {role} on the bucket",
        ) from None
    except api.NotFound as error:
        raise _missing(address, error, writing) from None
    except api.RetryError as error:
        raise _no_answer(address, error.cause or error) from None
    except api.GoogleAPICallError as error:
        raise StorageError(
            f"{address} cannot be {'written' if writing else 'read'} ({_reason(error)}); see the reason"
        ) from None


def metadata_may_come() -> bool:
    """Whether credentials come from the metadata server of Google's machines, which answers only some time after a pod
    has started.
    """
    with contextlib.suppress(OSError):
        by_key = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        return not by_key and MACHINE.read_text(encoding="utf-8").startswith("Google")
    return False


def _log_in() -> str:
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return (
            "give the pod's service account the right by Workload Identity, or mount a key and let "
            "GOOGLE_APPLICATION_CREDENTIALS name it"
        )
    return (
        "run `gcloud auth application-default login`, let GOOGLE_APPLICATION_CREDENTIALS name a key file, or use "
        "Workload Identity"
    )


def _missing(address: Address, error: Any, writing: bool) -> TrainerError:
    if writing or "/o/" not in str(getattr(error.response, "url", "")):
        return LocationError(
            str(address),
            f"names the bucket {address.bucket}, which does not exist",
            "check the name, or make it (gcloud storage buckets create)",
        )
    return DataError(
        f"{address} is not there, or was replaced while it was read; restore it and run the same command again"
    )


def _no_answer(address: Address, error: BaseException) -> RestartError:
    return RestartError(
        f"{address} gave no answer for {RETRY_SECONDS:g} s ({_reason(error)}); run the same command again when it does"
    )


def _reason(error: BaseException) -> str:
    """One line; of an answer in JSON its message."""
    text = str(error).strip()
    response = getattr(error, "response", None)
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        text = json.loads(response.text)["error"]["message"] if response is not None else text
    return text.partition("\n")[0][:200] or type(error).__name__
