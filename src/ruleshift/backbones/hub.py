"""Whether a hub id can be had, found out with one question, before anything is loaded."""

from ruleshift.errors import RuleshiftError

SECONDS = 10.0


def only_cached(name: str) -> bool:
    """Whether only the files of an earlier download are to be used, since the hub cannot be asked.

    Raises RuleshiftError when the hub does not have the model, or cannot be asked and nothing was downloaded earlier.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=SECONDS)
    except GatedRepoError as error:
        raise RuleshiftError(
            f"the hub gives {name!r} only to those whom its authors let in: ask on its page, then `hf auth login`"
        ) from error
    except (RepositoryNotFoundError, EntryNotFoundError, HFValidationError) as error:
        raise RuleshiftError(
            f"no model {name!r}: it is no folder here, and the hub has no such model: check the name (private ones "
            "need `hf auth login`)"
        ) from error
    except Exception as error:  # as many kinds as there are ways for a connection to fail
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return True
        reason = "HF_HUB_OFFLINE is set" if isinstance(error, OfflineModeIsEnabled) else _line(error)
        raise RuleshiftError(
            f"no model {name!r}: it is no folder here, was not downloaded before, and the hub could not be reached "
            f"({reason}): check the name and the connection"
        ) from error
    return False


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
