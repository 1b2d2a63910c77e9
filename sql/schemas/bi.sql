CREATE SCHEMA IF NOT EXISTS bi;

COMMENT ON SCHEMA bi IS
  'For BI tools: views and functions in the words of the documentation, exact as the API. Nothing else may be read.';
