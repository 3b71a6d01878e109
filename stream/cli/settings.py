"""Options of a command from its flags, the environment and a TOML file, in this order.

The command's own signature says which options there are and of what type, so a flag `--max-sessions` is also
`FARCAST_MAX_SESSIONS` and `max_sessions = 4` in `farcast.toml`.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from pydantic import BeforeValidator, ValidationError, create_model
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from stream.errors import ConfigError

PREFIX = "FARCAST_"
DEFAULT_FILE = Path("farcast.toml")
GIVEN = ("COMMANDLINE", "ENVIRONMENT")  # sources of a parameter's value, as click names them
SECRETS = ("api_key", "turn_secret")


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", env_ignore_empty=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        given = dict(init_settings())
        file = given.pop("__file__", {})
        return InitSettingsSource(settings_cls, given), env_settings, InitSettingsSource(settings_cls, file)


def settings(command: Callable[..., Any], context: typer.Context, file: Path | None) -> dict[str, Any]:
    """The value of every option of `command`. `file`: a TOML file; None = `farcast.toml` here, where there is one.

    Raises ConfigError for a file that cannot be read, an unknown key in it, and a value of the wrong type.
    """
    given = {
        name.rstrip("_"): value
        for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) is not None and source.name in GIVEN
    }
    try:
        found = _model(command)(**given, __file__=_read(file))  # type: ignore[call-arg]
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
    return found.model_dump()


def masked(values: Mapping[str, Any]) -> str:
    """Options that are not left out, as one line, without secrets."""
    shown = {name: "***" if name in SECRETS and value else value for name, value in values.items()}
    return ", ".join(f"{name}={value!r}" for name, value in shown.items() if value not in (None, [], ""))


def _model(command: Callable[..., Any]) -> type[_Settings]:
    hints = get_type_hints(command)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if kind is typer.Context:
            continue
        if list[str] in get_args(kind) or get_origin(kind) is list:  # one word after the other in the environment
            kind = Annotated[kind, NoDecode, BeforeValidator(_words)]
        fields[name.rstrip("_")] = (kind, parameter.default)  # `open_` is --open
    return create_model("Settings", __base__=_Settings, **fields)


def _words(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value


def _read(file: Path | None) -> dict[str, Any]:
    path = file if file is not None else DEFAULT_FILE
    if file is None and not path.is_file():
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Give another with --config.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None
    return {name.replace("-", "_"): value for name, value in found.items()}


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"]) or "the configuration"
    if first["type"] == "extra_forbidden":
        return f"{name!r} is no option of farcast serve. `farcast serve --help` names them all."
    return f"{name} = {first['input']!r}: {first['msg']}. It comes from the environment ({PREFIX}...) or the TOML file."
