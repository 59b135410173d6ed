import java.io.IOException;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A portable model and a clean table in, predictions.csv out: what the project's inference says, in Java. */
public class Score {
    /** The rows of a CSV file by their header; in quotes a cell may hold commas, line ends, and quotes twice. */
    static List<Map<String, String>> read(Path path) throws IOException {
        List<List<String>> rows = new ArrayList<>();
        List<String> row = new ArrayList<>();
        StringBuilder cell = new StringBuilder();
        boolean quoted = false;
        String text = Files.readString(path);
        for (int at = 0; at < text.length(); at++) {
            char c = text.charAt(at);
            if (c == '"') {
                if (quoted && at + 1 < text.length() && text.charAt(at + 1) == '"') {
                    cell.append(text.charAt(++at));
                } else {
                    quoted = !quoted;
                }
            } else if (quoted || (c != ',' && c != '\n' && c != '\r')) {
                cell.append(c);
            } else if (c != '\r') {
                row.add(cell.toString());
                cell.setLength(0);
                if (c == '\n') {
                    rows.add(row);
                    row = new ArrayList<>();
                }
            }
        }
        if (quoted || rows.isEmpty() || !row.isEmpty() || cell.length() > 0) {
            throw new IllegalArgumentException(path.getFileName() + " is no whole CSV file; clean it first");
        }
        List<String> header = rows.remove(0);
        List<Map<String, String>> found = new ArrayList<>();
        for (List<String> cells : rows) {
            if (cells.size() != header.size()) {
                throw new IllegalArgumentException(path.getFileName() + " has rows of unequal length; clean it first");
            }
            Map<String, String> named = new HashMap<>();
            for (int place = 0; place < cells.size(); place++) {
                named.put(header.get(place), cells.get(place));
            }
            found.add(named);
        }
        return found;
    }

    /** What one term of the model adds for a row. */
    static double add(Map<String, String> term, Map<String, String> row) {
        double weight = Double.parseDouble(term.get("weight"));
        String cell = row.getOrDefault(term.get("column"), "");
        String value = cell.isEmpty() ? term.get("fill") : cell;
        switch (term.get("kind")) {
            case "intercept": return weight;
            case "number": return weight * Double.parseDouble(value);
            case "equals": return value.equals(term.get("value")) ? weight : 0;
            case "count":
                Matcher words = Pattern.compile(term.get("pattern")).matcher(value);
                return weight * words.results().filter(word -> word.group(1).equals(term.get("value"))).count();
            default: throw new IllegalArgumentException("the model has a term that is unknown here: " + term.get("kind"));
        }
    }

    /** A probability to 10 digits, written as Python does. */
    static String written(double probability) {
        BigDecimal rounded = new BigDecimal(probability).setScale(10, RoundingMode.HALF_EVEN).stripTrailingZeros();
        if (rounded.signum() != 0 && rounded.compareTo(new BigDecimal("0.0001")) < 0) {
            String digits = rounded.unscaledValue().toString();
            String rest = digits.length() > 1 ? "." + digits.substring(1) : "";
            return String.format("%s%se-%02d", digits.charAt(0), rest, rounded.scale() - digits.length() + 1);
        }
        return rounded.setScale(Math.max(1, rounded.scale())).toPlainString();
    }

    public static void main(String[] arguments) throws IOException {
        Path outputs = Path.of(System.getenv("STEP_OUTPUTS"));
        try {
            Map<String, String> names = new HashMap<>();
            List<Map<String, String>> terms = new ArrayList<>();
            for (Map<String, String> row : read(Path.of(arguments[0]))) {
                if (row.get("weight").isEmpty()) {
                    names.put(row.get("kind"), row.get("column") + row.get("value"));
                } else {
                    terms.add(row);
                }
            }
            List<Map<String, String>> rows = read(Path.of(arguments[1]));
            for (Map<String, String> term : terms) {
                if (!rows.isEmpty() && !term.get("column").isEmpty() && !rows.get(0).containsKey(term.get("column"))) {
                    throw new IllegalArgumentException("there is no column " + term.get("column") + ", which the model reads");
                }
            }
            StringBuilder made = new StringBuilder(names.get("key") + "," + names.get("target") + ",probability\n");
            double total = 0;
            for (Map<String, String> row : rows) {
                double sum = terms.stream().mapToDouble(term -> add(term, row)).sum();
                double probability = 1 / (1 + Math.exp(-sum));
                String answer = names.get(probability > 0.5 ? "positive" : "negative");
                made.append(row.get(names.get("key"))).append(',').append(answer).append(',').append(written(probability)).append('\n');
                total += probability;
            }
            Files.writeString(outputs.resolve("predictions.csv"), made);
            String mean = rows.isEmpty() ? "" : ", \"mean_probability\": " + total / rows.size();
            Files.writeString(outputs.resolve("metrics.json"), "{\"rows\": " + rows.size() + mean + "}\n");
        } catch (IllegalArgumentException error) {
            System.err.println(error.getMessage());
            System.exit(1);
        }
    }
}
