// @NAME@: a CSV file in, those of its rows that are wanted out.
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

public class Step {
    /** Say here which rows you want: now, those that are not empty. */
    static boolean wanted(String row) {
        return row.chars().anyMatch(character -> character != ',' && character != '"');
    }

    /** The text's rows; a cell in quotes may go on in the next line. */
    static List<String> rows(String text) {
        List<String> rows = new ArrayList<>();
        boolean quoted = false;
        int start = 0;
        for (int end = 0; end < text.length(); end++) {
            quoted ^= text.charAt(end) == '"';
            if (text.charAt(end) == '\n' && !quoted) {
                rows.add(text.substring(start, end));
                start = end + 1;
            }
        }
        if (quoted) {
            throw new IllegalArgumentException(": a quote is never closed; clean it first");
        }
        if (start < text.length()) {
            rows.add(text.substring(start));
        }
        return rows;
    }

    public static void main(String[] arguments) throws IOException {
        Path input = Path.of(arguments[0]);
        Path outputs = Path.of(System.getenv("STEP_OUTPUTS"));
        try {
            List<String> rows = rows(Files.readString(input));
            if (rows.isEmpty()) {
                throw new IllegalArgumentException(" is empty; give a CSV file with a header");
            }
            List<String> kept = new ArrayList<>(rows.subList(0, 1));
            rows.stream().skip(1).filter(Step::wanted).forEach(kept::add);
            Files.writeString(outputs.resolve("@NAME@.csv"), String.join("\n", kept) + "\n");
            String metrics = String.format("{\"rows_in\": %d, \"rows_out\": %d}%n", rows.size() - 1, kept.size() - 1);
            Files.writeString(outputs.resolve("metrics.json"), metrics);
        } catch (IllegalArgumentException error) {
            System.err.println(input.getFileName() + error.getMessage());
            System.exit(1);
        }
    }
}
