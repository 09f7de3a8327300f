"""Attacks, and what holds against them. SECURITY.md promises it; each line has its tests.

asset           attack                              what holds                          tests
--------------  ----------------------------------  ----------------------------------  --------
write key       quoted in a log, an error, a repr   masked in every form                1, 2
write key       a redirect, http://, other servers  none followed; https:// only, or    1, 3
                                                    this machine
write key       an untrusted proxy or certificate   the run stops, the message says why 4
write key       settings or templates in messages   ignored, or sent as text            5
.env            a file of others, or further up     current folder, own names, refused  6
                                                    if others may write it
record content  errors and logs at every level      ids, counts, sizes, reasons only    1, 7
files of a run  another user of the machine         0700, 0600, names not to be guessed 8, 9
user's files    names with .. or / in messages      no name is a part of a path         5
user's files    a BATCH message that names one      sent if it has the declared form;   5, 10
                                                    else neither sent nor logged
user's network  $ref and $schema with an address    not fetched                         5, 11
user's network  BATCH messages with a protocol      file, and s3, gs, az by extra       10
memory, time    patterns, references, nesting       bounded, or the schema is refused   5, 11, 12
memory, time    a line without an end               a longest line                      18
memory, time    a compressed or endless response    only its beginning is read          1, 13
terminal        control characters in names         escaped                             5, 14
sandbox         other users, websites, planted or   owner only, token in the page's     15
                hostile files                       address, Host and Origin checked,
                                                    no link followed
sandbox         a query that reads files, writes,   one SELECT, read-only, settings     19
                attaches, sets or runs for ever     locked, limits of time and rows
dependencies    a version with a known hole         not admitted                        16
releases        a package of the tests              built after them, compared          17

1   segment/test_client.py
2   segment/test_authentication.py, test_write_key*.py
3   segment/test_urls.py
4   segment/test_connection_errors.py
5   test_hostile_tap.py
6   test_dotenv*.py
7   test_target_rejects.py
8   delivery/test_spool.py
9   singer/test_dead_letters.py, test_dead_letter*.py
10  singer/test_batch_files.py, test_batch_urls.py
11  mapping/test_validation.py
12  mapping/test_schema.py
13  test_hostile_server.py
14  reporting/test_log_handlers.py
15  test_sandbox*.py, test_warehouse_file.py
16  project/test_dependencies.py
17  project/test_github.py
18  test_endless_lines.py
19  test_sandbox_sql.py
"""
