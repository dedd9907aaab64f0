//! Owns what `Ref` and `Fn::GetAtt` give for each type of resource. What was given as an attribute
//! comes first; what only the running stack knows comes from nowhere else.

use super::error::Problem;
use super::node::Kind;
use super::resource::{Resource, ResourceKind};
use super::scope::Scope;

impl Scope<'_> {
    /// What `Ref` gives. `None` is `AWS::NoValue`.
    pub(super) fn reference(&self, name: &str) -> Result<Option<Kind>, Problem> {
        let inputs = self.inputs;
        let text = match name {
            "AWS::NoValue" => return Ok(None),
            "AWS::Region" => inputs.region.clone(),
            "AWS::AccountId" => inputs.account.clone(),
            "AWS::StackName" => inputs.stack.clone(),
            "AWS::StackId" => self.arn("cloudformation", &format!("stack/{}/local", inputs.stack)),
            "AWS::Partition" => "aws".to_owned(),
            "AWS::URLSuffix" => "amazonaws.com".to_owned(),
            name if name.starts_with("AWS::") => {
                return Err(Problem::Unsupported(name.to_owned()));
            }
            _ => {
                if let Some(value) = self.parameters.get(name) {
                    return Ok(Some(value.clone()));
                }
                self.resource_reference(name)?
            }
        };
        Ok(Some(Kind::Text(text)))
    }

    fn resource_reference(&self, name: &str) -> Result<String, Problem> {
        if let Some(value) = self.inputs.attributes.get(name) {
            return Ok(value.clone());
        }
        // SAM's names for what it makes itself.
        if let Some(api) = name.strip_suffix(".Stage") {
            let api = self.present(api)?;
            return match api.kind {
                ResourceKind::Api => self.property(api, "StageName", |_| {
                    Err(Problem::Missing("StageName".to_owned()))
                }),
                _ => Err(Problem::Undefined(name.to_owned())),
            };
        }
        if self.role_maker(name).is_some() {
            return Ok(self.physical_name(name));
        }
        let resource = self.present(name)?;
        match resource.kind {
            ResourceKind::Function => self.function_name(resource),
            ResourceKind::Role => self.role_name(resource),
            ResourceKind::Queue => Ok(format!(
                "https://sqs.{}.amazonaws.com/{}/{}",
                self.inputs.region,
                self.inputs.account,
                self.queue_name(resource)?
            )),
            ResourceKind::Api => Ok(name.to_ascii_lowercase()),
            ResourceKind::LogGroup => self.log_group_name(resource),
            ResourceKind::Topic => self.topic_arn(resource),
            ResourceKind::Cluster => self.cluster_identifier(resource),
            ResourceKind::Secret => self.secret_arn(resource),
            ResourceKind::Bucket => self.bucket_name(resource),
            ResourceKind::Custom | ResourceKind::WithoutCounterpart => {
                Err(Problem::Unresolved(name.to_owned()))
            }
        }
    }

    /// What `Fn::GetAtt` gives.
    pub(super) fn attribute(&self, name: &str, attribute: &str) -> Result<String, Problem> {
        let full_name = format!("{name}.{attribute}");
        if let Some(value) = self.inputs.attributes.get(&full_name) {
            return Ok(value.clone());
        }
        if self.role_maker(name).is_some() {
            return match attribute {
                "Arn" => Ok(self.arn_of_role(&self.physical_name(name))),
                _ => Err(Problem::Unresolved(full_name)),
            };
        }
        // `${Api.Stage}` in Fn::Sub is a reference.
        if attribute == "Stage" {
            return self.resource_reference(&full_name);
        }
        let resource = self.present(name)?;
        match (resource.kind, attribute) {
            (ResourceKind::Function, "Arn") => self.function_arn(resource),
            (ResourceKind::Role, "Arn") => self.role_arn(resource),
            (ResourceKind::Queue, "Arn") => self.queue_arn(resource),
            (ResourceKind::Queue, "QueueName") => self.queue_name(resource),
            (ResourceKind::Queue, "QueueUrl") | (ResourceKind::Api, "RestApiId") => {
                self.resource_reference(name)
            }
            (ResourceKind::LogGroup, "Arn") => {
                let log_group = self.log_group_name(resource)?;
                Ok(self.arn("logs", &format!("log-group:{log_group}:*")))
            }
            (ResourceKind::Bucket, "Arn") => {
                Ok(format!("arn:aws:s3:::{}", self.bucket_name(resource)?))
            }
            (ResourceKind::Topic, "TopicArn") => self.topic_arn(resource),
            (ResourceKind::Topic, "TopicName") => self.topic_name(resource),
            (ResourceKind::Cluster, "Identifier") => self.cluster_identifier(resource),
            (ResourceKind::Cluster, "ResourceArn") => {
                let identifier = self.cluster_identifier(resource)?;
                Ok(self.arn("dsql", &format!("cluster/{identifier}")))
            }
            _ => Err(Problem::Unresolved(full_name)),
        }
    }

    pub(super) fn function_name(&self, function: &Resource) -> Result<String, Problem> {
        self.name_property(function, "FunctionName")
    }

    pub(super) fn function_arn(&self, function: &Resource) -> Result<String, Problem> {
        let name = self.function_name(function)?;
        Ok(self.arn("lambda", &format!("function:{name}")))
    }

    pub(super) fn queue_name(&self, queue: &Resource) -> Result<String, Problem> {
        self.name_property(queue, "QueueName")
    }

    pub(super) fn queue_arn(&self, queue: &Resource) -> Result<String, Problem> {
        let attribute = format!("{}.Arn", queue.logical_id);
        if let Some(arn) = self.inputs.attributes.get(&attribute) {
            return Ok(arn.clone());
        }
        let name = self.queue_name(queue)?;
        Ok(self.arn("sqs", &name))
    }

    /// Without upper case, which no bucket's name has.
    pub(super) fn bucket_name(&self, bucket: &Resource) -> Result<String, Problem> {
        let name = self.name_property(bucket, "BucketName")?;
        Ok(name.to_ascii_lowercase())
    }

    fn role_name(&self, role: &Resource) -> Result<String, Problem> {
        self.name_property(role, "RoleName")
    }

    pub(super) fn role_arn(&self, role: &Resource) -> Result<String, Problem> {
        Ok(self.arn_of_role(&self.role_name(role)?))
    }

    pub(super) fn arn_of_role(&self, name: &str) -> String {
        format!("arn:aws:iam::{}:role/{name}", self.inputs.account)
    }

    fn log_group_name(&self, log_group: &Resource) -> Result<String, Problem> {
        self.name_property(log_group, "LogGroupName")
    }

    fn topic_name(&self, topic: &Resource) -> Result<String, Problem> {
        self.name_property(topic, "TopicName")
    }

    fn topic_arn(&self, topic: &Resource) -> Result<String, Problem> {
        let name = self.topic_name(topic)?;
        Ok(self.arn("sns", &name))
    }

    fn secret_arn(&self, secret: &Resource) -> Result<String, Problem> {
        let name = self.name_property(secret, "Name")?;
        Ok(self.arn("secretsmanager", &format!("secret:{name}")))
    }

    /// What a secret of the template holds that is to be generated, by a reference such as
    /// `secretsmanager:arn:…:SecretString`. It is the same at each start, because data may depend
    /// on it.
    pub(super) fn generated_secret(&self, reference: &str) -> Option<String> {
        let of = reference.strip_prefix("secretsmanager:")?;
        let of = of.strip_suffix(":SecretString").unwrap_or(of);
        let secret = self.resources.iter().find(|resource| {
            resource.kind == ResourceKind::Secret
                && resource.is_present
                && resource.properties.get("GenerateSecretString").is_some()
                && self.secret_arn(resource).is_ok_and(|arn| arn == of)
        })?;
        Some(format!(
            "{}-generated-on-this-machine",
            self.physical_name(&secret.logical_id)
        ))
    }

    /// The first label of the endpoint.
    fn cluster_identifier(&self, cluster: &Resource) -> Result<String, Problem> {
        let given = |attribute: &str| {
            let name = format!("{}.{attribute}", cluster.logical_id);
            self.inputs.attributes.get(&name).ok_or(name)
        };
        if let Ok(identifier) = given("Identifier") {
            return Ok(identifier.clone());
        }
        let endpoint = given("Endpoint").map_err(Problem::Unresolved)?;
        let (identifier, _) = endpoint.split_once('.').unwrap_or((endpoint, ""));
        Ok(identifier.to_owned())
    }

    fn arn(&self, service: &str, resource: &str) -> String {
        let inputs = self.inputs;
        format!(
            "arn:aws:{service}:{}:{}:{resource}",
            inputs.region, inputs.account
        )
    }

    /// The name of what the template does not name.
    pub(super) fn physical_name(&self, logical_id: &str) -> String {
        format!("{}-{logical_id}", self.inputs.stack)
    }

    fn present(&self, name: &str) -> Result<&Resource, Problem> {
        let resource = self.resource(name);
        let resource = resource.ok_or_else(|| Problem::Undefined(name.to_owned()))?;
        if resource.is_present {
            Ok(resource)
        } else {
            Err(Problem::Absent(name.to_owned()))
        }
    }

    /// The function for which SAM makes the role of this name.
    pub(super) fn role_maker(&self, name: &str) -> Option<&Resource> {
        let function = self.resource(name.strip_suffix("Role")?)?;
        let is_own = self.resource(name).is_none();
        (is_own && function.is_present && function.makes_role()).then_some(function)
    }

    fn name_property(&self, resource: &Resource, key: &str) -> Result<String, Problem> {
        self.property(resource, key, |resource| {
            Ok(self.physical_name(&resource.logical_id))
        })
    }

    fn property(
        &self,
        resource: &Resource,
        key: &str,
        otherwise: impl FnOnce(&Resource) -> Result<String, Problem>,
    ) -> Result<String, Problem> {
        let path = format!("{}.Properties.{key}", resource.path());
        let reduced = match resource.properties.get(key) {
            None => None,
            Some(node) => self.reduce(node, &path).map_err(|fault| fault.problem)?,
        };
        match reduced {
            None => otherwise(resource),
            Some(node) => match node.as_text() {
                Some(text) => Ok(text.to_owned()),
                None => Err(Problem::Invalid(format!("{path} is not text"))),
            },
        }
    }
}
