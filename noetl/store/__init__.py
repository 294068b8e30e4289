"""PostgreSQL: the truth. All of our SQL is in this package's .sql files."""
