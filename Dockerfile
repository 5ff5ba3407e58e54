FROM python:3.12-slim

# The folder must be there and the user's: Docker gives a new volume mounted on it the same owner,
# while a volume on a folder that the image lacks belongs to root, and no model could be kept in it.
RUN useradd --create-home --uid 10001 pipeline \
 && install --directory --owner pipeline --group pipeline /home/pipeline/.cache
WORKDIR /app

# The dependencies in a layer of their own: PyTorch is large, and is not installed again when only
# the code changes. Not the embedded server: its data would go with the container, and so does a
# DATABASE_URL that was forgotten end in one line instead of an empty database.
# TORCH_INDEX: the index of PyTorch's CPU builds spares the image the gigabytes of CUDA.
ARG TORCH_INDEX=""
COPY pyproject.toml constraints.txt ./
RUN if [ -n "$TORCH_INDEX" ]; then pip install --no-cache-dir -c constraints.txt --no-deps --index-url "$TORCH_INDEX" torch torchvision; fi
RUN python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["embed"], *p["optional-dependencies"]["metrics"], sep="\n")' > dependencies.txt \
 && pip install --no-cache-dir -c constraints.txt -r dependencies.txt

COPY README.md LICENSE ./
COPY migrations migrations
COPY sql sql
COPY pipeline pipeline
RUN pip install --no-cache-dir -c constraints.txt '.[embed,metrics]'

USER pipeline
ENTRYPOINT ["pipeline"]
CMD ["--help"]
