"""A folder on this machine: SQLite for the records, and one file with nothing but vectors.

    archive/press/records.sqlite   table `records`, a row a record; table `description`
    archive/press/vectors.0        row after row of numbers; `records.slot` counts them

Every vector is looked at for every query, straight from the file as the system keeps it in memory:
exact, without a library to install, and no slower than a disk up to some millions.

Vectors are appended within the transaction that writes their records, so what a process that died
has left behind the last slot in use is written over by the next. A vector that was replaced or
removed leaves its slot behind, until `settle` writes the file anew.
"""
