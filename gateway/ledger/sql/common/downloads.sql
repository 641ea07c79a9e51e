-- name: payload
SELECT p.path, p.data_offset, p.length, p.checksum, p.sop_class_uid, p.sop_instance_uid, p.transfer_syntax_uid
FROM instance i JOIN payload p ON p.instance_seq = i.seq
WHERE i.instance_id = :instance_id AND p.chain = :chain AND p.path <> '' AND i.state NOT IN ('purging', 'purged');
