# @NAME@: a CSV file in, those of its rows that are wanted out.
const input, outputs = ARGS[1], ENV["STEP_OUTPUTS"]

# Say here which rows you want: now, those that are not empty.
wanted(row) = occursin(r"[^,\"]", row)

function fail(sentence)
    println(stderr, basename(input), sentence)
    exit(1)
end

# The text's rows; a cell in quotes may go on in the next line.
function rows(text)
    found, row = String[], ""
    for line in split(chomp(text), '\n')
        row *= line
        if isodd(count(==('"'), row))
            row *= "\n"
        else
            push!(found, row)
            row = ""
        end
    end
    isempty(row) || fail(": a quote is never closed; clean it first")
    found
end

text = read(input, String)
isempty(text) && fail(" is empty; give a CSV file with a header")
found = rows(text)
kept = [found[1]; filter(wanted, found[2:end])]
write(joinpath(outputs, "@NAME@.csv"), join(kept, "\n") * "\n")
write(joinpath(outputs, "metrics.json"), "{\"rows_in\": $(length(found) - 1), \"rows_out\": $(length(kept) - 1)}")
