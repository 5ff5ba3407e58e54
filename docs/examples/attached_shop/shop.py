"""Fills the shop and searches it.

python shop.py add PHOTOS            every picture of a folder is a product
python shop.py search "a red bicycle" [AT_MOST]
python shop.py like TITLE            what looks alike
"""

import os
import sys
from decimal import Decimal
from pathlib import Path

from models import Product
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session, selectinload

from pipeline import nearest_rows, similar_to, text_embedding


def add(session: Session, folder: str) -> None:
    for number, file in enumerate(sorted(Path(folder).resolve().iterdir()), start=1):
        title = file.stem.replace("-", " ")
        session.add(Product(title=title, photo_url=str(file), price=Decimal(number)))
    session.commit()


def search(session: Session, text: str, at_most: str = "Infinity") -> None:
    # The vector of the text comes from `pipeline serve`; no model is loaded here.
    query = (
        nearest_rows(Product, text_embedding(text), content="photo", k=3)
        .where(Product.price <= Decimal(at_most))
        .options(selectinload(Product.photo))
    )
    for product, similarity in session.execute(query):
        assert product.photo is not None
        print(f"{product.title}  {product.price}  {similarity:.3f}  {product.photo.content_ref}")


def like(session: Session, title: str) -> None:
    product = session.scalars(select(Product).where(Product.title == title)).one()
    if product.photo is None:
        raise SystemExit("its photo is not embedded yet: run pipeline ingest")
    for item in session.scalars(similar_to(product.photo, modality="image").limit(3)):
        other = item.source_row(session, Product)
        print("gone since" if other is None else other.title)


if __name__ == "__main__":
    command = {"add": add, "search": search, "like": like}[sys.argv[1]]
    with Session(create_engine(os.environ["DATABASE_URL"])) as session:
        command(session, *sys.argv[2:])
