"""The command ``millrace``: messages go to stderr, results to stdout as JSON."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from millrace.errors import ConfigError
from pipelines.commands import data
from pipelines.commands.hadoop import app as hadoop_app
from pipelines.commands.schedule import app as schedule_app
from pipelines.jobs.exits import guard
from pipelines.jobs.stages import STAGES, Request, print_result, run_stages

app = typer.Typer(
    help="Ingest tables with Spark, train models with Horovod, score tables, and serve predictions over REST.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
config_app = typer.Typer(help="Check a product file, or print its schema.", no_args_is_help=True)
models_app = typer.Typer(help="List and show models; copy versions between stores.", no_args_is_help=True)
tables_app = typer.Typer(help="List and show tables.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(models_app, name="models")
app.add_typer(tables_app, name="tables")
app.add_typer(data.app, name="data")
app.add_typer(hadoop_app, name="hadoop")
app.add_typer(schedule_app, name="schedule")

ProductFile = Annotated[Path, typer.Argument(help="The product file, such as conf/pipelines/flights.yaml.")]
Profile = Annotated[
    str,
    typer.Option(help="Profile: a path, or a name in conf/profiles (working folder) or ../profiles (of the product)."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as train.epochs=5."),
]
StoreRoot = Annotated[str | None, typer.Option("--store", help="Root of the store; by default the profile's.")]


Full = Annotated[bool, typer.Option("--full", help="Rebuild an incremental table from all existing files.")]
AllowEmpty = Annotated[bool, typer.Option("--allow-empty", help="Commit an empty version if there are no rows.")]


@app.command()
def run(product: ProductFile, profile: Profile = "local", settings: Settings = None, full: Full = False) -> None:
    """Run all stages of a product: ingest, train, score."""
    from pipelines.commands.show import show_stages

    code, records = run_stages(STAGES, Request(product, profile, settings or [], full=full))
    show_stages(records)
    last = records[-1]
    stages = [record.model_dump(mode="json") for record in records]
    print_result(
        {
            "stage": "run",
            "run_id": last.run_id,
            "outcome": last.outcome,
            "reason": last.reason,
            "stages": stages,
        }
    )
    raise typer.Exit(code)


def _run_stage(stage: str, request: Request) -> None:
    code, records = run_stages((stage,), request)
    print_result(records[-1].model_dump(mode="json"))
    raise typer.Exit(code)


@app.command()
def ingest(
    product: ProductFile,
    profile: Profile = "local",
    settings: Settings = None,
    full: Full = False,
    allow_empty: AllowEmpty = False,
) -> None:
    """Read, clean and check the sources, and commit a new version of the clean table."""
    _run_stage("ingest", Request(product, profile, settings or [], full=full, allow_empty=allow_empty))


@app.command()
def train(product: ProductFile, profile: Profile = "local", settings: Settings = None) -> None:
    """Train a model on the newest version of the clean table, and publish it."""
    _run_stage("train", Request(product, profile, settings or []))


@app.command()
def score(
    product: ProductFile,
    profile: Profile = "local",
    settings: Settings = None,
    date: Annotated[str | None, typer.Option(help="Logical date; by default the table version's commit date.")] = None,
    model_version: Annotated[int | None, typer.Option(help="Model version; by default the newest.")] = None,
    table_version: Annotated[int | None, typer.Option(help="Table version; by default the newest.")] = None,
) -> None:
    """Score a version of the clean table with a model version, and add the result to the predictions table."""
    _run_stage("score", Request(product, profile, settings or [], date, model_version, table_version))


class ServeCommand(TyperCommand):
    """A command whose help also lists the settings."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, then every setting of the section ``serve``."""
        super().format_help(ctx, formatter)
        from millrace.config.sections.serve import Serve
        from pipelines.commands.output import print_settings

        print_settings("serve", Serve)


@app.command(cls=ServeCommand)
def serve(
    product: ProductFile,
    profile: Profile = "local",
    settings: Settings = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of server processes.")] = None,
    is_open: Annotated[
        bool, typer.Option("--open", help="Allow an address that others can reach; the service has no authentication.")
    ] = False,
) -> None:
    """Serve predictions of the newest model version over REST."""
    from pipelines.jobs.service import serve_product

    given = (("host", host), ("port", port), ("workers", workers), ("open_to_everyone", "true" if is_open else None))
    extra = [f"serve.{key}={value}" for key, value in given if value is not None]
    guard(lambda: serve_product(product, profile, [*(settings or []), *extra]))


@app.command()
def demo(product: ProductFile, profile: Profile = "local", settings: Settings = None) -> None:
    """Run all stages, start the service, and send it one request."""
    from pipelines.commands.demo import run_demo

    raise typer.Exit(run_demo(Request(product, profile, settings or [])))


@config_app.command()
def check(product: ProductFile, profile: Profile = "local", settings: Settings = None) -> None:
    """Check a product file without reading data; report mistakes with their line, key and allowed values."""
    from millrace.config import load_product

    def checked() -> None:
        try:
            config = load_product(product, profile=profile, settings=settings).config
        except ConfigError as error:
            problems = [asdict(problem) for problem in error.problems]
            print_result({"outcome": "invalid", "reason": str(error), "problems": problems})
            raise
        sys.stderr.write(f"{product}: no mistakes\n")
        print_result({"product": config.product, "outcome": "valid"})

    guard(checked)


@config_app.command()
def schema() -> None:
    """Print the JSON schema of product files, for editors."""
    from millrace.config import Config

    sys.stdout.write(json.dumps(Config.model_json_schema(by_alias=True), indent=2) + "\n")


@models_app.command("list")
def models_list(store: StoreRoot = None, profile: Profile = "local") -> None:
    """List every model and its versions."""
    from pipelines.commands.show import list_models

    guard(lambda: list_models(store, profile))


@models_app.command("show")
def models_show(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[int | None, typer.Option(help="Version number; by default the newest.")] = None,
    store: StoreRoot = None,
    profile: Profile = "local",
) -> None:
    """Show a model version: its inputs, metrics and lineage."""
    from pipelines.commands.show import show_model

    guard(lambda: show_model(name, version, store, profile))


models_app.command("push")(data.push)
models_app.command("pull")(data.pull)


@tables_app.command("list")
def tables_list(store: StoreRoot = None, profile: Profile = "local") -> None:
    """List every table and its newest version."""
    from pipelines.commands.show import list_tables

    guard(lambda: list_tables(store, profile))


@tables_app.command("show")
def tables_show(
    name: Annotated[str, typer.Argument(help="product/table, such as flights/clean.")],
    version: Annotated[int | None, typer.Option(help="Version number; by default the newest.")] = None,
    rows: Annotated[int, typer.Option(min=0, max=1000, help="Number of example rows to show.")] = 0,
    store: StoreRoot = None,
    profile: Profile = "local",
) -> None:
    """Show a table version: its columns, its rows by split, and its commit."""
    from pipelines.commands.show import show_table

    guard(lambda: show_table(name, version, store, profile, rows=rows))


def main() -> None:
    """Entry of the console script."""
    app()


if __name__ == "__main__":
    main()
