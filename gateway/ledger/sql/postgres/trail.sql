-- name: movements_of
SELECT CASE d.state WHEN 'delivered' THEN 'out' ELSE d.state END, i.association_key, coalesce(i.series_key, 0),
       d.destination_key, coalesce(p.sop_class_uid, i.sop_class_uid),
       CASE WHEN p.steps LIKE '%"deidentify", 1]%' THEN 1 ELSE 0 END, count(*)
FROM delivery d
JOIN instance i ON i.seq = d.instance_seq
LEFT JOIN payload p ON d.chain <> '' AND p.instance_seq = d.instance_seq AND p.chain = d.chain
WHERE d.delivery_id IN (SELECT jsonb_array_elements_text(?::jsonb)::bigint)
GROUP BY 1, 2, 3, 4, 5, 6;
