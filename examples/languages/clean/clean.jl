# A table as it came in, clean_data.csv out: what the project's data_cleaning makes of it, in Julia.
#
# This was written beside clean.R, and was NOT RUN: there was no Julia to be had where the others were tried. Before you
# use it, run it and compare: `python -m pytest tests/examples` does, as soon as `julia` is on the PATH.

input, declaration, max_rejected = ARGS[1], ARGS[2], parse(Float64, ARGS[3])
outputs = ENV["STEP_OUTPUTS"]
const GAPS = r"^(-|\?|#n/a|<na>|n/a|na|nan|none|null)?$"i
const NUMBER = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)$"

function fail(sentence)
    println(stderr, basename(input), sentence)
    exit(1)
end

# The rows of a CSV text, each a list of cells; in quotes a cell may hold commas, line ends, and quotes twice.
function parse_rows(text)
    rows, row, cell = Vector{Vector{String}}(), String[], IOBuffer()
    quoted = was_quote = begun = false
    end_cell() = (push!(row, String(take!(cell))); begun = false)
    function end_row()
        end_cell()
        row == [""] || push!(rows, row)
        row = String[]
    end
    for c in text
        if quoted && was_quote # the quote before ended the cell, or was the first of two
            was_quote = false
            if c == '"'
                write(cell, c)
                continue
            end
            quoted = false
        end
        if quoted
            c == '"' ? (was_quote = true) : write(cell, c)
        elseif c == '"' && !begun
            quoted = begun = true
        elseif c == ','
            end_cell()
        elseif c == '\n' || c == '\r'
            end_row()
        else
            write(cell, c)
            begun = true
        end
    end
    quoted && !was_quote && fail(": a quote is never closed; correct it")
    end_row()
    rows
end

# The one way in which a number is written: 22, 0.42; nothing where it is none.
function number(text)
    occursin(NUMBER, text) || return nothing
    plain = lstrip(lstrip(text, ['+', '-']), '0')
    plain = '.' in plain ? rstrip(rstrip(plain, '0'), '.') : plain
    plain = isempty(plain) || startswith(plain, ".") ? "0" * plain : plain
    startswith(text, "-") && plain != "0" ? "-" * plain : String(plain)
end

# A cell by its column's kind: "" for a gap, nothing where it cannot be.
function clean(cell, kind)
    text = join(split(cell), " ")
    occursin(GAPS, text) && return ""
    kind == "text" && return text
    plain = number(text)
    kind == "number" && return plain
    kind == "integer" && return plain === nothing || '.' in plain ? nothing : plain
    values = split(kind, "|")
    at = findfirst(value -> lowercase(value) == lowercase(text) || value == plain, values) # 3.0 is 3
    at === nothing ? nothing : values[at]
end

quote_cell(cell) = occursin(r"[\",]", cell) ? "\"" * replace(cell, "\"" => "\"\"") * "\"" : cell

rows = parse_rows(lstrip(read(input, String), '\ufeff'))
isempty(rows) && fail(" is empty; give a CSV file with a header")
header, rows = strip.(rows[1]), rows[2:end]
columns = map(split(declaration)) do word
    name, kind, must = match(r"^(.*):([^:]*?)(!?)$", word)
    place = findfirst(==(name), header)
    place === nothing && fail(" has no column $name; it has $(join(header, ", "))")
    (name = name, kind = kind == "key" ? "integer" : kind, key = kind == "key", must = must == "!" || kind == "key", place = place)
end

lines, seen = [join((quote_cell(column.name) for column in columns), ",")], Dict{String,String}()
rejected = duplicates = 0
for row in rows
    whole = length(row) == length(header)
    cells = whole ? [clean(row[column.place], column.kind) for column in columns] : []
    good = whole && all(cell !== nothing && !(column.must && cell == "") for (cell, column) in zip(cells, columns))
    line = good ? join(map(quote_cell, cells), ",") : ""
    key = good ? cells[findfirst(column -> column.key, columns)] : ""
    if good && !haskey(seen, key)
        seen[key] = line
        push!(lines, line)
    elseif good && seen[key] == line
        global duplicates += 1
    else
        global rejected += 1
    end
end
rejected > max_rejected * length(rows) &&
    fail(": $rejected of $(length(rows)) rows were rejected, more than max_rejected=$max_rejected; correct them")
write(joinpath(outputs, "clean_data.csv"), join(lines, "\n") * "\n")
write(
    joinpath(outputs, "metrics.json"),
    "{\"rows_in\": $(length(rows)), \"rows_out\": $(length(lines) - 1), \"rejected\": $rejected, \"duplicates\": $duplicates}",
)
