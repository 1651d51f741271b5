"""Write the reference pages of the documentation: commands, configuration, records, rules and exit codes.

Each comes from the code that it describes: the Typer app, the records, the catalogue of rules, the exceptions.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reference_tables as tables
import typer
import write_schemas

from modelreg import config, errors
from modelreg.cli.main import app
from modelreg.records import base
from modelreg.rules import catalogue

HEADER = "<!-- Written by scripts/write_reference.py (`make reference`). Do not edit. -->\n"
PARSED = "<!-- not run: an example of the help, parsed against the app -->"
CONFIGS = (
    "sample",
    "dsads",
    "dsads_vq",
    "dsads_vq_hdp_hsmm",
    "dsads_tcn_vae",
    "hapt",
    "hapt_hsmm",
    "spsw",
    "spsw_csv",
    "uci_har",
    "pamap2",
    "wisdm",
    "pamap2_uci_har",
    "hapt_spsw",
)
KINDS = {  # record: file, who writes it, what it answers
    "Manifest": ("manifest.json", "release", "Which files a version has, with size and SHA-256 digest."),
    "RunRecord": (
        "run.json",
        "train, import",
        "How a run was trained: settings, machine, packages, git state, result.",
    ),
    "TrainConfig": ("config.json", "train", "The complete configuration of a run, every default included."),
    "Epoch": ("history.jsonl", "train", "One line for each epoch: losses and measures."),
    "DataRecord": ("data.json", "train", "The sources, subjects and windows of each split, with their digests."),
    "Normalization": (
        "normalization.json",
        "train",
        "Mean and deviation of each channel, and the limits for the device.",
    ),
    "QualityReport": ("quality.json", "train, data check", "The quality of each recording."),
    "DataDraft": (
        "standard output",
        "data init --json",
        "A drafted configuration, and the reason for each setting ([your recordings](data.md)).",
    ),
    "ModelSpec": ("model_config.json", "release", "The network: settings, input, classes, quantizer."),
    "EvalMetrics": ("eval_metrics.json", "evaluate", "The metrics on the test split, with intervals."),
    "ConfidenceRecord": ("calibration.json", "evaluate", "Temperature scaling and prediction sets."),
    "ConfidenceRecordV1": ("calibration.json", "evaluate of modelreg 0.2", "The same, of schema version 1."),
    "AuditRecord": ("audit.json", "evaluate", "The leakage audit."),
    "CrossValidation": ("crossval.json", "evaluate --protocol", "Cross-validation by subject."),
    "RandomSplit": ("random_split.json", "evaluate --protocol random", "What a split that leaks would have reported."),
    "HsmmSpec": ("hsmm.json", "train", "The durations of a hidden semi-Markov model."),
    "ParityRecord": ("onnx/parity.json", "export", "How far the ONNX graphs differ from the checkpoint."),
    "BundleRecord": ("hailo8/bundle.json", "export", "The contents of a compile bundle."),
    "Int8Estimate": ("hailo8/int8.json", "export", "The estimated loss of 8-bit arithmetic."),
    "HefInfo": ("standard output", "hef inspect --json", "The contents of a compiled network (HEF)."),
    "LatencyRecord": ("latency.json", "bench", "The latency of a pipeline on one machine."),
    "GateReport": ("gates.json", "release", "The gates of a release and their outcome."),
    "Provenance": ("provenance.json", "release", "The in-toto statement of origin ([provenance](provenance.md))."),
    "AliasLog": ("aliases.json", "promote, rollback", "The aliases of a model and their history."),
    "Comparison": ("standard output", "compare --json", "The differences of two versions or runs."),
    "AblationRecord": ("ablation.json", "ablate", "The result of an ablation grid."),
    "NpyMetadata": ("metadata JSON", "you", "What .npy files of windows contain ([your recordings](data.md))."),
    "ProjectConfig": ("modelreg.yaml", "init", "The settings of a registry ([configuration](configuration.md))."),
}
OTHER_CODES = {
    0: ("", "Done."),
    1: ("", "A bug in modelreg, with a traceback. Please report it."),
    2: ("", "The command line is wrong: an unknown command or option, a missing argument."),
    130: ("", "Interrupted (Ctrl-C)."),
    141: ("", "The reader of a pipe stopped reading, as `head -1` does."),
}


ERRORS = [
    kind for kind in errors.ModelregError.__subclasses__() if kind.__module__ == errors.__name__
]  # not BackendError


def _head(title: str, text: str) -> str:
    return f"{HEADER}# {title}\n\n{text}\n"


def commands() -> str:
    """Return the page of commands, from the Typer app, in the groups of its help."""
    root = typer.main.get_command(app)
    top = _context(root, "modelreg")
    text = root.get_help(top)
    groups: dict[str, list[tuple[Any, Any]]] = {}
    for group, command, context in _leaves(root, top):
        groups.setdefault(group, []).append((command, context))
    ordered = sorted(groups.items(), key=lambda item: text.find(f"\n{item[0]}:"))
    parts = [
        _head("Commands", "Every command with its arguments and options. `modelreg COMMAND --help` prints the same."),
        f"```sh\nmodelreg --help\n```\n\n```text\n{_trimmed(text)}```\n",
        *(_group(name, found) for name, found in ordered),
        "Next: [configuration](configuration.md), [exit codes](exit-codes.md).\n",
    ]
    return "\n".join(parts)


def _group(name: str, found: list[tuple[Any, Any]]) -> str:
    overview = [
        (f"[`{_title(context)}`](#{_anchor(context)})", tables.first_paragraph(command.help))
        for command, context in found
    ]
    table = tables.table(("command", "does"), overview)
    return "\n".join([f"## {name}\n", table, *(_command(command, context) for command, context in found)])


def _leaves(command: Any, context: Any, group: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each command that can be run, with the group of the help that it is in and its context."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield group, command, context
        return
    for name, child in inner.items():
        if not child.hidden:
            yield from _leaves(child, _context(child, name, context), group or child.rich_help_panel)


def _title(context: Any) -> str:
    return str(context.command_path)


def _anchor(context: Any) -> str:
    return _title(context).removeprefix("modelreg ").replace(" ", "-")


def _context(command: Any, name: str, parent: Any = None) -> Any:
    settings = command.context_settings | {"terminal_width": 80, "max_content_width": 80}
    return typer.Context(command, info_name=name, parent=parent, **settings)


def _trimmed(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.strip().splitlines())


def _command(command: Any, context: Any) -> str:
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    text, examples = _split_examples(command.help or "")
    blocks = [f"{PARSED}\n```sh\n{example}\n```\n" for example in examples]
    return "\n".join(
        [
            f"### {_title(context)} {{ #{_anchor(context)} }}\n",
            text,
            f"```text\n{usage}\n```\n",
            *_options(command, context),
            *blocks,
        ]
    )


def _split_examples(text: str) -> tuple[str, list[str]]:
    """Return the help's paragraphs and the command lines of its examples."""
    paragraphs = [part.replace("\b\n", "") for part in text.split("\n\n")]
    examples = [line.strip() for part in paragraphs for line in _example_lines(part)]
    return "\n\n".join(_escape(part) for part in paragraphs if not _example_lines(part)) + "\n", examples


def _example_lines(paragraph: str) -> list[str]:
    head, _, rest = paragraph.strip().partition(":")
    return re.findall(r"(?m)^ *(modelreg .*)$", rest) if re.fullmatch(r"Examples?", head) else []


def _options(command: Any, context: Any) -> Iterator[str]:
    for kind in ("argument", "option"):
        chosen = [part for part in command.params if part.param_type_name == kind and not part.hidden]
        rows = [_row(record) for part in chosen if (record := part.get_help_record(context))]
        if rows:
            yield tables.table((kind, "meaning", "default"), rows)


def _row(record: tuple[str, str]) -> tuple[str, str, str]:
    names, text = record[0], " ".join(record[1].split())
    notes = re.search(r"\s*\[((?:default: |required|\d*<?=?x)[^\[\]]*)\]$", text)
    meaning = text[: notes.start()] if notes else text
    return tables.code(names), _escape(meaning), _escape(notes[1].removeprefix("default: ")) if notes else ""


def _escape(text: str) -> str:
    """Return text as Markdown shows it: option names as code, nothing read as HTML."""
    plain = text.replace("<", "&lt;")
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*|[A-Z]\.B=C)(?!`)", r"`\1`", plain)


def configuration() -> str:
    """Return the page of settings, from the records of config.py."""
    parts = [
        _head("Configuration", "Every key of a training's YAML file and of `modelreg.yaml`."),
        "`--set training.epochs=20` overrides a key by its dotted path. `config.json` of a run has every key:\n",
        "```sh\npython -m json.tool runs/conv2d_fsq-001/config.json\n```\n",
        _settings("A training", config.TrainConfig, "training"),
        _settings("modelreg.yaml", config.ProjectConfig, "registry"),
        "## Shipped configurations\n\nThese files are in `configs/` of a checkout and in the package.\n",
        *(f'??? example "configs/{name}.yaml"\n\n{_indented(_config_text(name))}' for name in CONFIGS),
        "Next: [training](training.md), [your recordings](data.md), [models](models.md).\n",
    ]
    return "\n".join(parts)


def _config_text(name: str) -> str:
    return f"```yaml\n{(Path(__file__).parents[1] / 'configs' / f'{name}.yaml').read_text('utf-8')}```\n"


def _indented(text: str) -> str:
    return "".join(f"    {line}" if line.strip() else line for line in text.splitlines(keepends=True))


def _settings(title: str, record: type[base.Record], prefix: str) -> str:
    schema = base.json_schema(record)
    places = tables.places(schema)
    labels = {name: _label(place, schema["$defs"][name]) for name, place in places.items()}

    def link(name: str) -> str:
        kind = tables.kind_of(schema["$defs"][name])
        return f"[{tables.code(kind) or labels[name]}](#{prefix}-{name.lower()})"

    parts = [f"## {title}\n\n{tables.summary(record)}\n", _keys(record, schema, link)]
    for name, label in labels.items():
        nested = tables.records()[name]
        parts.append(f"### {label} {{ #{prefix}-{name.lower()} }}\n\n{tables.summary(nested)}\n")
        parts.append(_keys(nested, schema["$defs"][name], link))
    return "\n".join(parts)


def _label(place: str, schema: Any) -> str:
    kind = tables.kind_of(schema)
    return f"`{place}` with `{kind}`" if kind else f"`{place}`"


def _keys(record: type[base.Record], schema: Any, links: tables.Links) -> str:
    rows = [
        (f"`{key.name}`", _type(key, links), tables.default_of(key), key.meaning, _example(key.example))
        for key in tables.fields(record, schema)
    ]
    return tables.table(("key", "type, unit", "default", "meaning", "example"), rows)


def _type(key: tables.Field, links: tables.Links) -> str:
    kind = tables.type_of(key.schema, links)
    return f"{kind}, in {key.unit}" if key.unit else kind


def _example(text: str) -> str:
    return text if "](" in text else tables.code(text)


def records() -> str:
    """Return the page of JSON documents, from the records."""
    documents = {record.__name__: record for record in write_schemas.DOCUMENTS}
    rows = [
        (f"[`{file}`](#{name.lower()})", use, f"`{made}`" if made != "you" else made)
        for name, (file, made, use) in KINDS.items()
    ]
    nested: dict[str, Any] = {}
    parts = [
        _head("Records", "Every JSON document of modelreg. `schemas/` of a checkout has their JSON Schemas."),
        "```sh\nmodelreg show v0.1.0 --json\n```\n",
        tables.table(("document", "answers", "written by"), rows),
    ]
    for name, (file, _, use) in KINDS.items():
        schema = base.json_schema(documents[name])
        nested |= {key: part for key, part in schema.get("$defs", {}).items() if key not in documents}
        parts.append(f"## {name} {{ #{name.lower()} }}\n\n`{file}`. {use}\n\n{_fields(documents[name], schema)}")
    parts.append("## Nested records\n")
    parts += [f"### {name} {{ #{name.lower()} }}\n\n{_nested(name, part)}" for name, part in sorted(nested.items())]
    return "\n".join([*parts, "Next: [configuration](configuration.md), [provenance](provenance.md).\n"])


def _nested(name: str, schema: Any) -> str:
    record = tables.records().get(name)
    return f"{tables.summary(record)}\n\n{_fields(record, schema)}" if record else f"{tables.type_of(schema, _link)}\n"


def _fields(record: type[base.Record], schema: Any) -> str:
    rows = [(f"`{key.name}`", tables.type_of(key.schema, _link), key.meaning) for key in tables.fields(record, schema)]
    return tables.table(("field", "type", "meaning"), rows)


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def rules() -> str:
    """Return the page of rules, from their catalogue."""
    areas: dict[str, list[catalogue.Rule]] = {}
    for rule in catalogue.load().values():
        areas.setdefault(rule.id.partition(".")[0], []).append(rule)
    parts = [
        _head("Rules", "Every error names a rule. This page says why a rule is broken and what to do next."),
        "<!-- exit 5 -->\n```sh\nmodelreg show v9.9.9\n```\n",
        f"Areas: {', '.join(f'[{area}](#{area})' for area in areas)}.\n",
    ]
    for area, found in areas.items():
        parts.append(f"## {area} {{ #{area} }}\n")
        parts += [_rule(rule) for rule in found]
    return "\n".join([*parts, "Next: [exit codes](exit-codes.md), [commands](commands.md).\n"])


def _rule(rule: catalogue.Rule) -> str:
    head = f"### {rule.id} {{ #{rule.id} }}"
    return f"{head}\n\n**{_sentence(rule.summary)}** {rule.cause.strip()}\n\nNext: {_sentence(rule.next)}\n"


def _sentence(clause: str) -> str:
    text = clause.strip()
    named = re.match(r"\S*[._/`*]", text)  # a file or a command, which keeps its case
    return (text if named else text[:1].upper() + text[1:]).rstrip(".") + "."


def exit_codes() -> str:
    """Return the page of exit codes, from the exceptions."""
    kinds = {kind.exit_code: (f"`{kind.__name__}`", tables.summary(kind)) for kind in ERRORS}  # type: ignore[type-abstract]
    rows = [(str(number), meaning, name) for number, (name, meaning) in sorted((OTHER_CODES | kinds).items())]
    return "\n".join(
        [
            _head("Exit codes", "The exit code says why a command failed. Where several kinds meet, the lowest wins."),
            '```sh\nmodelreg verify v9.9.9 || echo "exit code $?"\n```\n',
            tables.table(("code", "meaning", "exception in Python"), rows),
            "Results are on standard output; errors and notices are on standard error.\n",
            "Next: [rules](rules.md), [commands](commands.md).\n",
        ]
    )


PAGES = {
    "commands.md": commands,
    "configuration.md": configuration,
    "records.md": records,
    "rules.md": rules,
    "exit-codes.md": exit_codes,
}


def write(folder: Path) -> None:
    """Write every reference page into `folder`."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parents[1] / "docs")
