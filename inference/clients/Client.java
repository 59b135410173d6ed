import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/** Asks the scoring server (mlflow run inference -e serve) about one passenger. Usage: java Client.java [URL] */
public class Client {
    static final String PASSENGER = """
        {"dataframe_records": [{
          "PassengerId": 1, "Pclass": 1, "Name": "Doe, Miss. Jane", "Sex": "female", "Age": 29.5, "SibSp": 0,
          "Parch": 0, "Ticket": "PC 17599", "Fare": 71.28, "Cabin": null, "Embarked": "C"}]}""";

    public static void main(String[] arguments) throws Exception {
        String url = arguments.length > 0 ? arguments[0] : "http://127.0.0.1:5001";
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/invocations"))
            .version(HttpClient.Version.HTTP_1_1)
            .timeout(Duration.ofSeconds(30))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(PASSENGER))
            .build();
        HttpResponse<String> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.body());
        System.exit(answer.statusCode() == 200 ? 0 : 1);
    }
}
