-- question:   This image, but at night: what is like an image and a text?
-- parameters: item, more, k
-- index:      inside search_items()
\if :{?item}
\else
SELECT coalesce(min(id), 0) AS item FROM multimodal_items WHERE modality = 'image'
\gset
\endif
\if :{?more} \else \set more 'at night' \endif
\if :{?k} \else \set k 10 \endif

SELECT rank, content_ref, similarity
FROM search_items(
    embedding => blend_embeddings(
        ARRAY[item_embedding(:item), text_embedding(:'more')], ARRAY[1, 0.5]),
    query_modality => 'image', modality => '{image}', k => :k)
ORDER BY rank;
