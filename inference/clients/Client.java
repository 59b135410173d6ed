import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;

/** Asks the scoring server (mlflow run inference -e serve) about a CSV file's rows. Usage: java Client.java FILE [URL] */
public class Client {
    public static void main(String[] arguments) throws Exception {
        String url = arguments.length > 1 ? arguments[1] : "http://127.0.0.1:5001";
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/invocations"))
            .version(HttpClient.Version.HTTP_1_1)
            .timeout(Duration.ofSeconds(30))
            .header("Content-Type", "text/csv")
            .POST(HttpRequest.BodyPublishers.ofFile(Path.of(arguments[0])))
            .build();
        HttpResponse<String> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.body());
        System.exit(answer.statusCode() == 200 ? 0 : 1);
    }
}
