-- question:   This image, but at night: what is like an image and a text?
-- parameters: item, words, k
-- index:      inside search_items()
\set item 20001
\set words 'at night'
\set k 10

SELECT rank, content_ref, similarity
FROM search_items(
    embedding => blend_embeddings(
        ARRAY[item_embedding(:item), text_embedding(:'words')], ARRAY[1, 0.5]),
    query_modality => 'image', modality => '{image}', k => :k)
ORDER BY rank;
