FROM python:3.12-slim

# The ingest job needs neither a compiler nor the embedded server's files; one layer for what
# changes rarely (the dependencies), one for the package.
RUN useradd --create-home --uid 10001 pipeline
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE alembic.ini ./
COPY migrations migrations
COPY sql sql
COPY pipeline pipeline
RUN pip install --no-cache-dir -c constraints.txt .
USER pipeline
ENTRYPOINT ["pipeline"]
CMD ["--help"]
