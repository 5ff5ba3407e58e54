"""What to do about a row that failed, per error code; docs/errors.md says the same."""

CURES = {
    "bad_reference": "write the reference as the message says",
    "unsupported_scheme": (
        "put the file where one of these reaches it, or install what the message names"
    ),
    "forbidden_path": (
        "write the path without `..`; add its folder to `PIPELINE_MEDIA_ROOTS`, or use "
        "`pipeline add`, which does both"
    ),
    "forbidden_address": "if that network is meant, list it in `PIPELINE_HTTP_ALLOW_PRIVATE`",
    "forbidden_bucket": "add it to `PIPELINE_BUCKETS`",
    "not_found": (
        "correct the reference, or restore the object and retry; if it is gone for good: "
        "`pipeline rescan`, or `pipeline remove KEY`, and of an attached source `pipeline sync`"
    ),
    "not_a_file": "name a regular file",
    "permission_denied": (
        "grant read access to the user the pipeline runs as, or renew the presigned URL"
    ),
    "http_error": "open the URL and see; correct the reference",
    "too_many_redirects": "store the final URL",
    "timeout": "nothing; if it stays, raise the limit or look at the server",
    "unreachable": "nothing; if it stays, look at the server, its certificate, the firewall",
    "busy": "nothing; if it stays, lower `PIPELINE_HTTP_PER_HOST` or `PIPELINE_LOAD_WORKERS`",
    "storage_error": "see the message: a disk, credentials, a region or an endpoint",
    "empty_file": "replace the file",
    "too_large": "make it smaller, or raise the limit",
    "too_complex": ("save it again with another program, or raise `PIPELINE_DECODE_CPU_SECONDS`"),
    "not_an_image": "replace the file; an HTML page is often a login or error page behind the URL",
    "unsupported_format": "convert it",
    "truncated": "transfer it again",
    "corrupt": "replace the file",
    "decoder_crashed": "keep the file away, and report it to Pillow's maintainers",
    "not_audio": "replace the file",
    "not_a_video": "replace the file",
    "not_a_document": "replace the file",
    "missing_extra": "install the part that the message names, then `pipeline retry`",
    "encrypted": "store a copy without its password or protection",
    "no_audio": "delete the row, or add it as what it is",
    "no_video": "delete the row, or add it as what it is",
    "no_pages": "replace the file",
    "zero_length": "replace the file",
    "silence": "replace the file, or delete the row",
    "bad_samples": "write the file again from its source",
    "too_long": "cut it into several files, or raise the limit that the message names",
    "too_many_parts": "split it into several files, or raise the limit",
    "page_too_large": "write the document again with another program",
    "empty_text": "delete the row or give it text",
    "bad_text": "store the text, in its right encoding",
    "too_many_windows": "split it into several rows, or raise the limit",
    "unsupported_modality": "delete the row, or build a space whose model has its modality",
    "refused": "the message is the server's; shorten or change the input",
    "bad_vector": "look at the input; report it with the model's name",
    "out_of_memory": (
        "lower `PIPELINE_BATCH_SIZE` or `PIPELINE_DECODE_PROCESSES`, use a smaller model or "
        "precision, or give the worker more memory"
    ),
    "embed_failed": "see the message",
    "worker_lost": "nothing; if one row does it again and again, it is the row that kills it",
    "internal": "report it",
}
