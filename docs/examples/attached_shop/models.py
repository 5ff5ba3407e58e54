"""The shop's one table, and what is found by it."""

from decimal import Decimal

from sqlalchemy import Identity, Numeric
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pipeline import MultimodalItem, items_of


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "shop_products"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    title: Mapped[str]
    photo_url: Mapped[str | None]
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))

    photo: Mapped[MultimodalItem | None] = items_of("shop_products", content="photo")
    titles: Mapped[list[MultimodalItem]] = items_of("shop_products", content="title")
