# Ask the scoring server (mlflow run inference -e serve) about the rows of a CSV file.
# Usage: Rscript client.R FILE [URL]
# R's own connections cannot post, so that this needs the package curl (Debian: r-cran-curl).
arguments <- commandArgs(trailingOnly = TRUE)
url <- if (length(arguments) > 1) arguments[2] else "http://127.0.0.1:5001"
body <- readBin(arguments[1], "raw", file.size(arguments[1]))

request <- curl::new_handle()
curl::handle_setopt(request, post = TRUE, postfields = body, postfieldsize = length(body), timeout = 30)
curl::handle_setheaders(request, "Content-Type" = "text/csv")
answer <- curl::curl_fetch_memory(paste0(url, "/invocations"), request)
cat(rawToChar(answer$content), "\n", sep = "")
quit(status = if (answer$status_code == 200) 0 else 1)
