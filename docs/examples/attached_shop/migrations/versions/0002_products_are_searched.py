"""The products' photos and titles are searched, from now on."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.attach_source(
        "shop_products",
        contents={
            "photo": {"modality": "image", "content": "photo_url"},
            "title": {"modality": "text", "content": "title"},
        },
        metadata=["price"],
    )


def downgrade() -> None:
    op.detach_source("shop_products")
