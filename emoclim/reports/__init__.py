"""Say what was found: report objects, rows of tables, pictures and a page; nothing here trains, reads data or prints.

Stages fill the reports, the pipeline writes their plain form, tables, pictures and page to files, commands show rows.
Numbers are shares from 0 to 1 until a table or a picture shows them in percent; the same report gives the same bytes.
"""
