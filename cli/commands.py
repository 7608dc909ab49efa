"""The table of subcommands: name, module with its main function, purpose, example."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Command:
    """A subcommand.

    Attributes:
        module: has ``main(arguments) -> int``; imported only when the subcommand runs.
        purpose: one line of ``skinserve --help``.
        example: printed after the subcommand's own ``--help``.
    """

    module: str
    purpose: str
    example: str


COMMANDS = {
    "serve": Command(
        module="serve.__main__",
        purpose="serve both networks, the HTTP API and the page on this machine",
        example="skinserve serve --port 8080",
    ),
    "keys": Command(
        module="cli.keys",
        purpose="create, list and revoke the API keys of a server",
        example="skinserve keys add clinic --file keys.yaml --roles predict bulk --requests-per-second 5",
    ),
    "models": Command(
        module="cli.registry",
        purpose="list, push, promote, roll back and compare the models of a registry",
        example="skinserve models push runs/lesion/checkpoint --registry registry",
    ),
    "score": Command(
        module="cli.score",
        purpose="classify all lesion photos of a folder or a bucket into Parquet or NDJSON",
        example="skinserve score s3://clinic/photos s3://clinic/scores --model weights/lesion",
    ),
    "feedback": Command(
        module="cli.feedback",
        purpose="count the stored feedback on answers, export it for skinserve ingest",
        example="skinserve feedback export s3://clinic/feedback --out data/feedback",
    ),
    "ingest": Command(
        module="train.data.ingest.__main__",
        purpose="write the manifest of a lesion data set",
        example="skinserve ingest HAM10000_metadata.csv data/ham10000/manifest.parquet"
        " --photos HAM10000_images",
    ),
    "followup": Command(
        module="train.data.followup.__main__",
        purpose="write the manifest of SkinCredible's follow-up series",
        example="skinserve followup s3://clinic/followup data/followup/manifest.parquet --labeller vader",
    ),
    "labels": Command(
        module="train.data.labels.__main__",
        purpose="compare the labels of a manifest with labels set by hand",
        example="skinserve labels agreement data/followup/manifest.parquet hand.csv",
    ),
    "extract-faces": Command(
        module="train.progress.extract_faces",
        purpose="crop the faces of a manifest's photos once, before training",
        example="skinserve extract-faces data/followup/manifest.parquet data/followup/faces",
    ),
    "check-leakage": Command(
        module="train.data.leakage",
        purpose="check that training and validation set share no patient, lesion or picture",
        example="skinserve check-leakage data/ham10000/manifest.parquet --split runs/lesion/split.parquet",
    ),
    "match-lesions": Command(
        module="train.data.match_lesions",
        purpose="find lesions photographed again under another id, and give them one id",
        example="skinserve match-lesions data/ham10000/manifest.parquet --pairs pairs.csv",
    ),
    "train": Command(
        module="train.launch",
        purpose="train a network by a recipe and release its checkpoint",
        example="skinserve train lesion --workers 4 --gpu",
    ),
    "release": Command(
        module="train.release",
        purpose="write the checkpoint of a training run",
        example="skinserve release runs/lesion --out checkpoints/lesion",
    ),
    "evaluate": Command(
        module="train.evaluate",
        purpose="measure a checkpoint on labelled photos",
        example="skinserve evaluate runs/lesion/checkpoint data/ham10000/manifest.parquet"
        " --split runs/lesion/split.parquet",
    ),
}
