"""Real peers, real faults and the judge: what the integration and fault tests are made of.

==================  ====================================================================================
`tools`             `require`, `free_port`, `wait_until`, processes that always end
`wire`              PDUs and command sets made by hand, independent of `gateway.dicom`
`rawpeer`           sockets that speak `wire`: an SCU and an SCP that do exactly what a test says
`archive`           a fast scripted storage SCP that remembers what it stored, by SHA-256
`dcmtk`             storescp, dcmsend, storescu, echoscu
`orthanc`           an Orthanc with its storage in a temporary folder
`postgres`          a PostgreSQL server in a temporary folder, with a database a test
`redis`             a Redis with password, ACL user or TLS; a master and its replica under Sentinels
`certificates`      a certificate authority, and server certificates signed by it
`pynet`             pynetdicom as SCP and SCU
`proxy`             a TCP proxy that throttles, stalls, cuts and flips
`data`              instances with canary values, Part 10 files, pydicom's sample files
`sender`            many associations that write down what they were told
`backends`          the ledger and queue of all test gateways: GATEWAY_TEST_LEDGER, GATEWAY_TEST_QUEUE
`gatewayprocess`    `gateway run` as a child, its configuration, roles, metrics and logs
`evidence`          what the spool, the ledger and text sinks say, as the checker reads them
`ledgerrows`        SQL on a ledger of either kind, read-only
`checker`           LOST, FALSE, ALTERED and PHI, computed from what senders, spool, ledger and archives say
`strace`            system calls that fail, stall, kill; and how many there were
`machine`           network namespaces, small file systems, power cuts (root only)
`lan`               hosts in network namespaces, a cable for each service that each of them uses (root only)
==================  ====================================================================================

A test asks for what it needs with `require("storescp")`: a missing tool skips it on a developer's machine and fails
it where `CI=true`. Nothing here waits a fixed time, and whatever is started is ended by its own process id.
"""
