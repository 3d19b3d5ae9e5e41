"""Time zones by their IANA names."""

from __future__ import annotations

from zoneinfo import ZoneInfo, available_timezones

from jobclaim.specs.refusals import did_you_mean


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of that name.

    Raises
    ------
    ValueError
        There is no zone of that name; the closest one is suggested.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError if the name is that of a directory
        known = {zone.lower(): zone for zone in available_timezones()}
        suggestion = did_you_mean(name.lower(), known)
        for lower, zone in known.items():
            suggestion = suggestion.replace(repr(lower), repr(zone))
        raise ValueError(
            f"timezone={name!r} is not an IANA time zone{suggestion}; write one as in 'Europe/Berlin', or leave it out "
            "for UTC"
        ) from None
