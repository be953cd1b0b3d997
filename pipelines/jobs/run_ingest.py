"""Entry of the ingest stage for `spark-submit --py-files dist/millrace.zip`."""

from pipelines.jobs.stages import main

if __name__ == "__main__":
    main("ingest")
