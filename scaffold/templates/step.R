# @NAME@: a CSV file in, those of its rows that are wanted out.
path <- commandArgs(trailingOnly = TRUE)[1]
outputs <- Sys.getenv("STEP_OUTPUTS")

fail <- function(sentence) {
  message(basename(path), sentence)
  quit(status = 1)
}

# Say here which rows you want: now, those that are not empty.
wanted <- function(rows) grepl('[^,"]', rows, useBytes = TRUE)

lines <- readLines(path, warn = FALSE, encoding = "UTF-8")
if (length(lines) == 0) fail(" is empty; give a CSV file with a header")
# A row ends with a line where all quotes are closed.
ends <- cumsum(nchar(gsub('[^"]', "", lines, useBytes = TRUE))) %% 2 == 0
if (!ends[length(ends)]) fail(": a quote is never closed; clean it first")
rows <- vapply(split(lines, cumsum(c(TRUE, ends[-length(ends)]))), paste, "", collapse = "\n")
kept <- c(TRUE, wanted(rows[-1]))

made <- file(file.path(outputs, "@NAME@.csv"), "wb")
writeLines(rows[kept], made, useBytes = TRUE)
close(made)
counts <- sprintf('{"rows_in": %d, "rows_out": %d}\n', length(rows) - 1L, sum(kept) - 1L)
cat(counts, file = file.path(outputs, "metrics.json"))
