"""Say where the service listens and what it takes at most. Used by every module of the room."""

import secrets
from typing import Any

from pydantic import Field, model_validator

from emoclim.config import Settings

LOCAL = ("127.0.0.1", "localhost", "::1")  # names of this machine for itself
MB = 10**6


class ServiceSettings(Settings):
    """Where the service listens, who may ask, and what a request takes at most."""

    host: str = Field(default=LOCAL[0], description="Address to listen at; any but this machine's own needs a token")
    port: int = Field(default=8765, ge=0, le=65_535, description="Port to listen at")
    token: str | None = Field(default=None, min_length=16, description="What requests must bear; default none")
    upload_bytes: int = Field(default=200 * MB, ge=1, description="Bytes of a request's body")
    files: int = Field(default=20, ge=1, description="Files of a request")
    upload_seconds: float = Field(default=120.0, gt=0, description="Seconds that a request's body may take to arrive")
    decode_seconds: float = Field(default=60.0, gt=0, description="Seconds that decoding and encoding a file may take")
    decode_bytes: int = Field(default=2_000 * MB, ge=MB, description="Memory that decoding a file may take, in bytes")
    decoders: int = Field(default=2, ge=1, le=64, description="Processes that decode files")

    @model_validator(mode="before")
    @classmethod
    def _with_token(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Make up a token where other machines can reach the service, and none is given."""
        others = given.get("host", LOCAL[0]) not in LOCAL
        return given | {"token": secrets.token_urlsafe(24)} if others and not given.get("token") else given

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOCAL
